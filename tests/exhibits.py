"""Reading the tables of exhibits."""


def rows(table):
    """A table's rows: heading -> words."""
    return table.rows.to_dict("records")


def row(table, name):
    [found] = [one for one in rows(table) if next(iter(one.values())) == name]
    return found


def note(table, words):
    """What the number of a missing cell says."""
    number = words.removeprefix("- ")
    [found] = [one for one in table.notes if one.startswith(number)]
    return found.removeprefix(f"{number} ")
