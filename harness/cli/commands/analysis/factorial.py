"""`harness factorial`: the 2 × 2 ablation {base, trained weights} × {initial, evolved prompt}."""

from harness.cli.arguments import Arguments
from harness.cli.print_analysis import open_analysis, record_and_print
from harness.runs.analysis.ablations import two_by_two
from harness.runs.analysis.reevaluation import finished


def main(arguments: Arguments) -> int:
    """Evaluate four cells, or two if the run changed only the weights or only the prompt."""
    with open_analysis(finished(arguments.run), "factorial", arguments) as analysis:
        record_and_print(analysis, two_by_two(analysis), arguments.json)
    return 0
