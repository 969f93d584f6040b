"""Peak memory of extraction and the length of a video: clips of some seconds and of a minute, 1080p and 4K.

    python benchmarks/memory.py

Makes the clips (two seconds of H.264, a drifting picture, their packets repeated to the length), extracts each alone
with one worker, and writes the peak of the largest process to benchmarks/results/memory-<hardware>.md.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
from machine import RESULTS, hardware, slug, table
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"1080p": (1080, 1920), "4K": (2160, 3840)}
SECONDS = (10, 60)
FPS = 30
NUM_FRAMES = (16, 128)


def write_clip(path: Path, height: int, width: int) -> None:
    """Two seconds of a window that drifts over soft noise."""
    import av
    import cv2

    count = 2 * FPS
    small = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    picture = cv2.resize(small, (width + 2 * count, height), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "30", "g": "250", "bf": "3"}
        for number in range(count):
            window = np.ascontiguousarray(picture[:, 2 * number : 2 * number + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")))
        container.mux(stream.encode(None))


def repeat_clip(short: Path, path: Path, times: int) -> None:
    """The packets of a clip again and again, without encoding them anew."""
    import av

    with av.open(str(path), "w") as container:
        with av.open(str(short)) as source:
            stream = container.add_stream_from_template(source.streams.video[0])
        for number in range(times):
            with av.open(str(short)) as source:
                video = source.streams.video[0]
                for packet in source.demux(video):
                    if packet.size:
                        packet.pts += number * video.duration
                        packet.dts += number * video.duration
                        packet.stream = stream
                        container.mux(packet)


def extract(root: Path, num_frames: int) -> tuple[float, float]:
    """Seconds that it took and MB of the largest process, in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, __file__, str(root), str(num_frames)], capture_output=True, text=True, check=True, cwd=root
    )
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def work(root: str, num_frames: str) -> None:
    from deepfake.__main__ import main as deepfake

    began = time.perf_counter()
    arguments = [f"data.root={root}", "data.layout=unlabelled", "data.name=set", f"extract.num_frames={num_frames}"]
    status = deepfake(["index", "extract", *arguments, f"paths.data={root}-{num_frames}", "num_workers=1"])
    assert status == 0
    forkserver._forkserver._stop()  # the processes that it forked count once it has ended
    peak_mb = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(json.dumps([time.perf_counter() - began, peak_mb]))


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder, tqdm(total=len(SIZES) * len(SECONDS) * len(NUM_FRAMES)) as bar:
        for size, (height, width) in SIZES.items():
            short = Path(folder) / f"{size}.mp4"
            write_clip(short, height, width)
            for seconds in SECONDS:
                clips = Path(folder) / f"{size}-{seconds}s"
                clips.mkdir()
                repeat_clip(short, clips / "clip.mp4", seconds // 2)
                megabytes = (clips / "clip.mp4").stat().st_size / 1e6
                for count in NUM_FRAMES:
                    took_s, peak_mb = extract(clips, count)
                    rows.append([size, seconds, f"{megabytes:.0f}", count, f"{took_s:.1f}", f"{peak_mb:.0f}"])
                    bar.update()
    head = ["size", "seconds of video", "MB of file", "frames wanted", "s, with start-up", "largest process, MB"]
    path = RESULTS / f"memory-{slug(hardware())}.md"
    path.write_text(f"# Peak memory of extraction on {hardware()}\n\n{table(head, rows)}")
    print(path.read_text())


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    if len(sys.argv) > 1:
        work(*sys.argv[1:])
    else:
        main()
