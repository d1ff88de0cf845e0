"""The ledger of a study's slots, as `show` prints it."""

from typing import TYPE_CHECKING

from rich.table import Table

from tuner.cli.tables import out, print_table

if TYPE_CHECKING:
    from tuner.results.folder import StudyResults


def show_ledger(study: "StudyResults") -> None:
    """Print what the slots spent their time on, if recorded."""
    from tuner.analysis.formatting import format_duration
    from tuner.analysis.ledger import ENTRIES, ledger

    found = ledger(study)
    if found is None or not found.slot_seconds:
        return
    total = sum(found.seconds.values())
    out.print(
        f"\nTime of the slots: {format_duration(found.slot_seconds)} in {format_duration(found.wall_seconds)};"
        f" the entries add up to {total / found.slot_seconds:.1%}"
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for justify in ("left", "right", "right"):
        table.add_column(justify=justify, no_wrap=True)
    table.add_column()
    for name, seconds in found.seconds.items():
        share = f"{seconds / found.slot_seconds:.1%}"
        if seconds:
            table.add_row(name, share, format_duration(seconds), ENTRIES[name])
    print_table(table)
