"""The built-in metrics of answers."""

from collections.abc import Callable

from adapterhub import hookimpl
from adapterhub.metric import Metric
from adapterhub_metrics.bleu import Bleu
from adapterhub_metrics.exact_match import ExactMatch
from adapterhub_metrics.json_schema import JsonSchema
from adapterhub_metrics.regex import Regex
from adapterhub_metrics.rouge_l import RougeL
from adapterhub_metrics.token_f1 import TokenF1


@hookimpl
def register_metrics(register: Callable[[Metric], None]) -> None:
    for metric in (ExactMatch(), TokenF1(), RougeL(), Bleu(), Regex(), JsonSchema()):
        register(metric)
