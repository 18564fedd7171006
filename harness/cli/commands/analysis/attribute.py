"""`harness attribute`: leave-one-out ablation of the principles of the selected prompt.

A principle that another one repeats has no effect by this measure, though both together may have a
large one; the row without any principle shows that.
"""

from harness.cli.arguments import Arguments
from harness.cli.print_analysis import open_analysis, record_and_print
from harness.runs.analysis.ablations import leave_one_out
from harness.runs.analysis.reevaluation import finished


def main(arguments: Arguments) -> int:
    """Evaluate the whole prompt, without each principle in turn, and without all of them."""
    with open_analysis(finished(arguments.run), "attribute", arguments) as analysis:
        record_and_print(analysis, leave_one_out(analysis), arguments.json)
    return 0
