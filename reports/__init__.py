"""Reading: records in, tables, pictures and text out. Never measures, never imports torch."""
