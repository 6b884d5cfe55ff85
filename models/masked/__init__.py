"""What GreenMIM and SimMIM have in common: arguments, masks, the names of Swin's parameters."""
