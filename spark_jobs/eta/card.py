"""The model card: one HTML page, which opens without a network, with its plots as SVG."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_jobs.eta.features import NAMES

_OURS, _BASELINE = "#1f6f8b", "#b8b8b8"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;"
    "text-align:right}td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
)


def page(metrics: Mapping[str, Any], predictions: Mapping[str, NDArray[Any]], importance: Sequence[float]) -> str:
    """Return the card.

    Args:
        metrics: of ``metrics.json``.
        predictions: wait, p50, p90 and baseline in seconds, request_datetime and whether there were live waits (live).
        importance: share of each feature in the gain, in the order of ``NAMES``.
    """
    wait, p50, p90, baseline = (predictions[name] for name in ("wait", "p50", "p90", "baseline"))
    hour = predictions["request_datetime"].astype("datetime64[h]").astype(np.int64) % 24
    live = predictions["live"]
    gain = 100 * (1 - metrics["mae_s"] / metrics["baseline_mae_s"])
    candidates: Mapping[str, Any] = metrics["candidates"]
    served = (
        f"How long a rider waits from the request to the pick-up: the 50th and the 90th percentile, in seconds. "
        f"Served: {metrics['winner']}, chosen by its pinball losses in {metrics['validation_month']}, then trained "
        f"again with that month. It learnt {metrics['training_rows']:,} requests of "
        f"{', '.join(metrics['train_months'])}; {metrics['lag_month']} gave medians alone. Code: {metrics['code']}."
    )
    result = (
        f"On {metrics['rows']:,} requests of {metrics['test_month']}, a month that nothing was fitted to, the mean "
        f"absolute error is {metrics['mae_s']:.1f} s, {gain:.1f} % below the {metrics['baseline_mae_s']:.1f} s of the "
        f"median by zone and hour; {100 * metrics['p90_coverage']:.1f} % of riders waited no longer than the 90th "
        "percentile."
    )
    limits = (
        f"Live waits carry most of the gain: {100 * float(live.mean()):.1f} % of the test month's requests had a "
        f"pick-up in the city in the 20 minutes before them. On these the error is "
        f"{_error(live, wait, p50, baseline)}; on the others {_error(~live, wait, p50, baseline)}. The sample months "
        "are single hours: a request before such an hour is there only if the rider waited into it, and one at its end "
        "only if the rider did not wait beyond it, which the number of recent pick-ups partly tells. Whole months have "
        "no such edges. Waits of over an hour are reservations and are not learnt."
    )
    rows = {f"{name}, {metrics['test_month']}": found["test"] for name, found in candidates.items()}
    rows |= {f"{name}, {metrics['validation_month']}": found["validation"] for name, found in candidates.items()}
    boroughs: Mapping[str, Any] = metrics["by_borough"]
    parts = (
        f"<h1>Arrival model {_text(metrics['version'])}</h1>",
        f"<p>{_text(served)}</p><p>{_text(result)}</p>",
        _figures_table(rows, "Candidates, trained without the validation month"),
        _figures_table({f"served, {metrics['test_month']}": metrics}, "Served"),
        _figures_table(metrics["by_company"], "By company"),
        _figures_table(boroughs, "By borough of the pick-up"),
        "<h2>Error by hour of the request</h2>",
        _bars([f"{h}" for h in range(24)], [_errors(hour == h, wait, p50, baseline) for h in range(24)], "hour"),
        "<h2>Error by borough</h2>",
        _bars(list(boroughs), [(group["mae_s"], group["baseline_mae_s"]) for group in boroughs.values()], ""),
        "<h2>Calibration: waited no longer than predicted, by tenths of the prediction</h2>",
        _calibration(wait, p50, p90),
        "<h2>What it looks at: share of what the splits gained</h2>",
        _importance(importance),
        f"<h2>Limits</h2><p>{_text(limits)}</p>",
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Arrival model {_text(metrics['version'])}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _figures_table(groups: Mapping[str, Mapping[str, Any]], caption: str) -> str:
    head = ("", "requests", "MAE s", "baseline s", "lower by %", "pinball p50", "pinball p90", "within p90 %")
    rows = [
        (
            _text(name),
            f"{f['rows']:,}",
            f"{f['mae_s']:.1f}",
            f"{f['baseline_mae_s']:.1f}",
            f"{100 * (1 - f['mae_s'] / f['baseline_mae_s']):.1f}" if f["baseline_mae_s"] else "",
            f"{f['pinball_p50']:.1f}",
            f"{f['pinball_p90']:.1f}",
            f"{100 * f['p90_coverage']:.1f}",
        )
        for name, f in groups.items()
    ]
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{caption}</h2><table><tr>" + "".join(f"<th>{name}</th>" for name in head) + f"</tr>{body}</table>"


def _errors(rows: NDArray[Any], wait: NDArray[Any], p50: NDArray[Any], baseline: NDArray[Any]) -> tuple[float, float]:
    if not rows.any():
        return 0.0, 0.0
    return float(np.abs(wait - p50)[rows].mean()), float(np.abs(wait - baseline)[rows].mean())


def _error(rows: NDArray[Any], wait: NDArray[Any], p50: NDArray[Any], baseline: NDArray[Any]) -> str:
    ours, theirs = _errors(rows, wait, p50, baseline)
    return f"{ours:.1f} s (median by zone and hour: {theirs:.1f} s)"


def _bars(names: Sequence[str], pairs: Sequence[tuple[float, float]], label: str) -> str:
    figure, axes = _axes()
    place = np.arange(len(names))
    axes.bar(place - 0.2, [pair[1] for pair in pairs], 0.4, color=_BASELINE, label="median by zone and hour")
    axes.bar(place + 0.2, [pair[0] for pair in pairs], 0.4, color=_OURS, label="model")
    axes.set_xticks(place, names)
    axes.set(xlabel=label, ylabel="mean absolute error, s")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return _svg(figure)


def _calibration(wait: NDArray[Any], p50: NDArray[Any], p90: NDArray[Any]) -> str:
    figure, axes = _axes()
    for predicted, share, name, colour in (
        (p90, 0.9, "90th percentile", _OURS),
        (p50, 0.5, "50th percentile", "#d97b29"),
    ):
        parts = [rows for rows in np.array_split(np.argsort(predicted, kind="stable"), 10) if len(rows)]
        axes.plot(
            [predicted[rows].mean() for rows in parts],
            [100 * (wait <= predicted)[rows].mean() for rows in parts],
            "o-",
            color=colour,
            label=name,
        )
        axes.axhline(100 * share, color=colour, linewidth=0.8, linestyle="--")
    axes.set(xlabel="predicted, s", ylabel="waited no longer, %", ylim=(0, 100))
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return _svg(figure)


def _importance(importance: Sequence[float]) -> str:
    order = np.argsort(importance)[-15:]
    figure, axes = _axes()
    axes.barh([NAMES[place] for place in order], [100 * importance[place] for place in order], color=_OURS)
    axes.set(xlabel="%")
    return _svg(figure)


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # its own canvas, no state of the process

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "taxiway"}):  # the same page from the same figures
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
