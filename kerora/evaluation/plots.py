"""The figures of the report, drawn with matplotlib's object interface (no window, no global figure).

The colours are those of Okabe and Ito, which people with colour blindness can tell apart. The lines also differ in
marker and dash. Figures for the HTML page are SVG. Their colours are CSS variables of the page, so that they follow its
light and dark theme.
"""

import contextlib
import html
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from kerora.evaluation.metrics import Calibration, row_percent
from kerora.evaluation.wording import LABELS

DOTS_PER_INCH, PNG_PADDING = 150, 0.12
INK, MUTED, GRID, TRAIN, VALIDATION = "#1b1f24", "#59636e", "#d9dee3", "#0072b2", "#d55e00"
# `inline_svg` replaces these colours by the variables, wherever the figure has them
THEME_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", TRAIN: "--train", VALIDATION: "--validation"}
RUNS = (TRAIN, VALIDATION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#b7d3ea", "#5a9bcb", "#0b4f8a", "#062f57"])
# classes up to which cells hold counts, and counts with per cent; characters of a class name
MOST_ANNOTATED, MOST_WITH_PERCENT, LONGEST_NAME = 40, 10, 28
LARGEST_SIDE = 30.0
"""Maximum side of a confusion matrix, in inches."""

# for class names in scripts that DejaVu Sans does not cover, or only in part
_FALLBACK_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Emoji",
)
_STYLE = {
    # a class name with $ is no formula
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "font.size": 9.5,
    "lines.linewidth": 2,
    # text stays text, which can be selected and has the font of the page
    "svg.fonttype": "none",
    # without a salt, matplotlib makes random ids, and equal figures would give different files
    "svg.hashsalt": "kerora",
}


def curves(
    history: Mapping[str, np.ndarray], best_epoch: int | None = None, columns: Sequence[str] = ("loss", "accuracy")
) -> Figure:
    """Draw columns of train and validation by epoch, side by side.

    Args:
        history: columns of history.csv, shape (epochs,). Columns that are missing or all NaN are left out.
        best_epoch: epoch whose weights were kept. It is marked if there are several epochs.
        columns: the columns to draw. Each is drawn together with ``val_<column>``.
    """
    with style():
        figure = new_figure(4.2 * len(columns), 3.3)
        axes = figure.subplots(1, len(columns), squeeze=False)[0]
        for axis, column in zip(axes, columns, strict=True):
            _draw_curve(axis, history, column, best_epoch)
            axis.set_title(column.capitalize())
            axis.set_xlabel("epoch")
        handles, names = axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside upper right", ncols=3)
    return figure


def run_curves(histories: Sequence[Mapping[str, np.ndarray]], column: str) -> Figure:
    """Draw one column of several runs by epoch. The runs are numbered from 1.

    Args:
        histories: the columns of history.csv of each run, shape (epochs,). Runs without the column are left out.
        column: the column to draw, such as ``val_loss``.
    """
    with style():
        figure = new_figure(4.2, 3.3)
        axis = figure.subplots()
        for number, history in enumerate(histories):
            values = history.get(column, np.array([]))
            if np.isfinite(values).any():
                epochs = history.get("epoch", np.arange(1, len(values) + 1))
                colour, marker = RUNS[number % len(RUNS)], MARKERS[number % len(MARKERS)]
                axis.plot(epochs, values, color=colour, marker=marker, markersize=5, label=f"run {number + 1}")
        name = column.removeprefix("val_")
        axis.set_title(f"Validation: {LABELS.get(name, name)}")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(False, axis="x")
        axis.margins(x=0.06, y=0.12)
        if axis.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper right", ncols=4)
    return figure


def step_curve(steps: Mapping[str, np.ndarray]) -> Figure:
    """Draw the training loss by update.

    Args:
        steps: columns of steps.csv, shape (updates recorded,).
    """
    with style():
        figure = new_figure(4.2, 3.3)
        axis = figure.subplots()
        axis.plot(steps["step"], steps["loss"], color=TRAIN, linewidth=1.5)
        axis.set_title("Loss by update")
        axis.set_xlabel("update")
        axis.grid(False, axis="x")
    return figure


def _draw_curve(axis: Axes, history: Mapping[str, np.ndarray], column: str, best_epoch: int | None) -> None:
    epochs = history.get("epoch", np.array([math.nan]))
    # history.csv may lack the column, or have an empty cell in it
    if not np.isfinite(epochs).all():
        epochs = np.arange(1, len(next(iter(history.values()))) + 1)
    looks = (("train", column, TRAIN, "o", "-"), ("validation", f"val_{column}", VALIDATION, "s", "--"))
    for name, key, colour, marker, dash in looks:
        values = history.get(key, np.array([]))
        if np.isfinite(values).any():
            axis.plot(epochs, values, color=colour, marker=marker, markersize=5, linestyle=dash, label=name)
    if best_epoch is not None and len(epochs) > 1 and best_epoch in epochs:
        axis.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":", label="kept epoch", zorder=1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.grid(False, axis="x")
    axis.margins(x=0.06, y=0.12)
    # otherwise the axis of a single epoch shows fractions of it
    if len(epochs) == 1:
        axis.set_xlim(epochs[0] - 1, epochs[0] + 1)
        axis.set_xticks(epochs)


def confusion(matrix: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix. The shade is the row per cent. Cells hold counts, and per cent if they fit.

    Args:
        matrix: counts of shape (classes, classes), true classes in rows.
        classes: class names. Long names are cut.
        title: heading of the figure.
    """
    count = len(classes)
    names = [short_name(name) for name in classes]
    # inches of a cell: two lines of text need more room than one, and a shade alone needs little
    cell = 0.95 if count <= 3 else 0.72 if count <= MOST_WITH_PERCENT else 0.46 if count <= MOST_ANNOTATED else 0.2
    cell = min(cell, LARGEST_SIDE / count)
    # inches beside the cells: a character of 9.5 pt is about 0.075 inches wide
    margin = 0.9 + 0.075 * max(map(len, names))
    with style():
        width, height = max(4.2, cell * count + margin + 0.9), max(3.4, cell * count + margin * 0.8)
        figure = new_figure(width, height, "compressed")  # "constrained" would leave gaps beside square cells
        axis = figure.subplots()
        percent = row_percent(matrix)
        image = axis.imshow(percent, cmap=HEAT, vmin=0, vmax=100)
        axis.set_title(title, loc="left")
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        # few short names fit beside each other without being turned
        flat = count <= 3 and max(map(len, names)) <= 12
        turn: dict[str, Any] = {} if flat else {"rotation": 45, "rotation_mode": "anchor", "ha": "right"}
        # a line of 9.5 pt text is about 0.16 inches high: smaller cells have a label at every nth class only
        shown = range(0, count, math.ceil(0.16 / cell))
        axis.set_xticks(shown, [names[place] for place in shown], color=INK, **turn)
        axis.set_yticks(shown, [names[place] for place in shown], color=INK)
        axis.grid(False)
        axis.spines[:].set_visible(False)
        edges, thickness = np.arange(1, count) - 0.5, 1.5 if count <= MOST_ANNOTATED else 0.3
        axis.hlines(edges, -0.5, count - 0.5, "white", linewidth=thickness)
        axis.vlines(edges, -0.5, count - 0.5, "white", linewidth=thickness)
        if count <= MOST_ANNOTATED:
            _annotate(axis, matrix, percent)
        bar = figure.colorbar(image, ax=axis, format="%d %%", fraction=0.035, pad=0.03, shrink=0.9)
        bar.outline.set_visible(False)
        bar.set_label("of the true class")
    return figure


def _annotate(axis: Axes, matrix: np.ndarray, percent: np.ndarray) -> None:
    both = len(matrix) <= MOST_WITH_PERCENT
    size = 9.5 if both else 8
    for (row, column), value in np.ndenumerate(matrix):
        # a zero without per cent adds nothing to the shade of its cell
        if value == 0 and not both:
            continue
        share = percent[row, column]
        text = f"{value:,}\n{share:.0f} %" if both else f"{value}"
        # dark shades start at about 60 per cent
        colour = "white" if share > 60 else INK if value else MUTED
        label = axis.text(column, row, text, ha="center", va="center", fontsize=size, color=colour, linespacing=1.3)
        # The label lies inside its cell, so the layout need not measure it. Measuring is as slow as drawing.
        label.set_in_layout(False)


def reliability(calibration: Calibration, before: Calibration | None = None) -> Figure:
    """Draw the reliability diagram: accuracy by confidence, and below it the number of rows in each bin.

    Args:
        calibration: the bins.
        before: the bins without the temperature, drawn as hollow marks. None if there is no temperature.
    """
    bins = len(calibration.counts)
    # the middle of each bin, on an axis from 0 to 1
    centres = (np.arange(bins) + 0.5) / bins
    filled = calibration.counts > 0
    with style():
        figure = new_figure(4.6, 4.2)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.bar(centres[filled], calibration.accuracy[filled], width=0.92 / bins, color=TRAIN, alpha=0.85)
        upper.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1.2)
        upper.plot(calibration.confidence[filled], calibration.accuracy[filled], "D", color=VALIDATION, markersize=4)
        if before is not None:
            had = before.counts > 0
            look: dict[str, Any] = {"color": INK, "markersize": 5, "markerfacecolor": "none", "linewidth": 1}
            upper.plot(before.confidence[had], before.accuracy[had], "o:", label="without temperature", **look)
            upper.plot([], [], "D", color=VALIDATION, markersize=4, label="with temperature")
            figure.legend(loc="outside upper right", ncols=2)
        upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        lower.bar(centres, calibration.counts, width=0.92 / bins, color=MUTED)
        lower.set(ylabel="rows", xlabel="confidence")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        figure.align_ylabels([upper, lower])
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as PNG on white, 150 dots per inch."""
    stream = io.BytesIO()
    with style(), warnings.catch_warnings():
        # If no installed font has a script, its class names become boxes here. The HTML page shows them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        _lay_out(figure, PNG_PADDING)
        figure.savefig(
            stream,
            format="png",
            dpi=DOTS_PER_INCH,
            facecolor="white",
            # no version of matplotlib, so that equal figures give equal files
            metadata={"Software": None},
        )
    return stream.getvalue()


def inline_svg(figure: Figure, description: str) -> str:
    """Return a figure as an SVG element for an HTML page. Its colours are CSS variables of the page.

    Args:
        figure: a figure without text from data, because the page inserts it unescaped.
        description: text for screen readers.
    """
    stream = io.StringIO()
    # The salt makes the ids inside the SVG differ between figures of a page, and equal for equal input.
    with style(), mpl.rc_context({"svg.hashsalt": description}):
        _lay_out(figure)
        # no date, so that equal figures give equal pages
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    markup = stream.getvalue()
    markup = markup[markup.index("<svg") :]
    # HTML needs no name spaces, a style sheet would apply to the whole page, and ids must not occur twice
    for leftover in (
        r"<metadata>.*?</metadata>",
        r"<style.*?</style>",
        r'\sxmlns(:\w+)?="[^"]*"',
        r'(?<=<g) id="[^"]*"',
    ):
        markup = re.sub(leftover, "", markup, flags=re.DOTALL)
    opening, closing, rest = markup.partition(">")
    # without a size of its own, the figure follows the width of the page
    opening = re.sub(r'\s(width|height|version)="[^"]*"', "", opening)
    for colour, variable in THEME_VARIABLES.items():
        rest = rest.replace(colour, f"var({variable})")
    return f'{opening} role="img" aria-label="{html.escape(description)}"{closing}{rest}'


def _lay_out(figure: Figure, padding: float = 0.05) -> None:
    """Compute the layout once, with `padding` in inches. Otherwise `savefig` draws everything twice."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=padding, h_pad=padding)
        engine.execute(figure)
        figure.set_layout_engine(None)


def new_figure(width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    """Return an empty figure of a size in inches. Draw inside `style`."""
    figure = Figure(figsize=(width, height), layout=layout)
    # this canvas measures text for the layout without a window
    FigureCanvasAgg(figure)
    return figure


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the style of the reports to what is drawn inside the block."""
    installed = set(font_manager.fontManager.get_font_names())
    # only installed ones, because matplotlib warns of each family that it does not find
    families = ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]
    with mpl.rc_context({**_STYLE, "font.family": families}):
        yield


def short_name(name: str) -> str:
    """Return a name on one line. A long name is cut."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
