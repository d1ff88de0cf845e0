"""Steps of a curve as a line of blocks."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(steps: Sequence[tuple[int, float]], end: int, width: int) -> str:
    """Draw a step function from 0 to `end` as text.

    The lowest block is the least value, and the highest the greatest. A column shows the value at
    its right edge. It is blank before the first step.

    Args:
        steps: Each position at which the value changes, and the value from there on.
        end: Position of the right edge.
        width: Number of columns.
    """
    values = [value for _, value in steps]
    lowest, span = min(values), max(values) - min(values)
    text, index = "", 0
    for column in range(1, width + 1):
        while index < len(steps) and steps[index][0] * width <= end * column:
            index += 1
        if not index:
            text += " "
            continue
        share = (values[index - 1] - lowest) / span if span else 0.5
        text += BLOCKS[round(share * (len(BLOCKS) - 1))]
    return text
