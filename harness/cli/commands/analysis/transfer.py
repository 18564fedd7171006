"""`harness transfer`: the effect of an evolved prompt on another model or environment.

The evolved and the initial prompt are evaluated with the other model's own weights. On another
environment, the principles follow that environment's own initial prompt.
"""

from harness.cli.arguments import Arguments
from harness.cli.print_analysis import open_analysis, record_and_print
from harness.errors import UsageError
from harness.runs.analysis.ablations import transfer
from harness.runs.analysis.reevaluation import finished


def main(arguments: Arguments) -> int:
    """Evaluate the initial and the evolved prompt on another model or environment."""
    env, model = arguments.env, arguments.model
    if not (env or model):
        raise UsageError("Name another environment or model: --env, --model, or both.")
    with open_analysis(finished(arguments.run), "transfer", arguments) as analysis:
        result = transfer(analysis, env, model, arguments.data_dir)
        record_and_print(analysis, result, arguments.json)
    return 0
