"""Event files of TensorBoard, in RUN/logs/tensorboard. Nothing here imports TensorFlow.

`torch.utils.tensorboard` imports TensorFlow where it is installed, and its writer has a thread, in which the error of a
full disk is lost. The event files are therefore written here, with the records and messages of the package tensorboard.
"""

import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerora.tracking.contract import State, TrackedRun


class TensorBoard:
    """Scalars, hyperparameters, pictures and texts as TensorBoard shows them."""

    def check(self) -> None:
        """Import what the event files are written with."""
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: F401
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: F401

    def start(self, run: TrackedRun) -> str | None:
        """Open a new event file, and write the hyperparameters. A resume adds a file to the same folder."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = run.folder / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        seconds, rest = divmod(time.time_ns(), 10**9)
        # In the order of the names TensorBoard reads the files of a folder. It would put the name of the machine into
        # them, but people share run folders.
        self._file = (folder / f"events.out.tfevents.{seconds:010d}.{rest:09d}").open("xb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._settings = {
            key: value if isinstance(value, bool | int | float) else str(value) for key, value in run.settings.items()
        }
        if run.resumed is None:
            self._hyperparameters("session_start_info", session_start_info=self._session())
            self._text("run", "\n".join(f"- {key}: {value}" for key, value in run.facts.items()))
        return "logs/tensorboard"

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write one point of each curve."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._summary(Summary(value=points), step)

    def finish(self, values: Mapping[str, float], files: Sequence[Path], state: State) -> None:
        """Write the final values and the pictures and texts of the report, and close the file."""
        if values:
            self.log(values, 0)
        for path in files:
            if path.suffix == ".png":
                self._picture(path)
            elif path.suffix == ".txt":
                # indented by four blanks, which is a block of code in Markdown
                self._text(f"report/{path.stem}", "    " + path.read_text(encoding="utf-8").replace("\n", "\n    "))
        if state == "finished":
            from tensorboard.plugins.hparams.api_pb2 import Status
            from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo

            self._hyperparameters("experiment", experiment=self._experiment(values))
            end = SessionEndInfo(status=Status.Value("STATUS_SUCCESS"))
            self._hyperparameters("session_end_info", session_end_info=end)
        self._file.close()

    def _experiment(self, values: Mapping[str, float]) -> Any:
        """Return the message that names the hyperparameters, and the values that the page HPARAMS compares."""
        from tensorboard.plugins.hparams.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName

        kinds = {bool: "DATA_TYPE_BOOL", str: "DATA_TYPE_STRING"}
        parameters = [
            HParamInfo(name=name, type=DataType.Value(kinds.get(type(value), "DATA_TYPE_FLOAT64")))
            for name, value in self._settings.items()
        ]
        metrics = [MetricInfo(name=MetricName(tag=name)) for name in values]
        return Experiment(hparam_infos=parameters, metric_infos=metrics)

    def _session(self) -> Any:
        """Return the message with the value of each hyperparameter."""
        from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

        start = SessionStartInfo()
        for name, value in self._settings.items():
            field = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
            setattr(start.hparams[name], field, value)
        return start

    def _hyperparameters(self, tag: str, **content: Any) -> None:
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        data = HParamsPluginData(version=0, **content).SerializeToString()
        self._annotated(f"_hparams_/{tag}", "hparams", data)

    def _picture(self, path: Path) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        content = path.read_bytes()
        # the width and the height of a PNG, two big-endian numbers at byte 16
        width, height = struct.unpack(">II", content[16:24])
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=content)
        self._summary(Summary(value=[Summary.Value(tag=f"report/{path.stem}", image=image)]))

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=shape)
        self._annotated(tag, "text", b"", tensor=tensor)

    def _annotated(self, tag: str, plugin: str, content: bytes, **value: Any) -> None:
        """Write a value for one of the pages (plugins) of TensorBoard."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

        data = SummaryMetadata.PluginData(plugin_name=plugin, content=content)
        metadata = SummaryMetadata(plugin_data=data)
        self._summary(Summary(value=[Summary.Value(tag=tag, metadata=metadata, **value)]))

    def _summary(self, summary: Any, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        # at once: a killed training keeps its curves, and a full disk is noticed here
        self._file.flush()
