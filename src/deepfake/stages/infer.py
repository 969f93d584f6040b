"""infer: trained folds and the test split → logits → a submission."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from deepfake import layout
from deepfake.config import Config, resolved, shaping
from deepfake.files import digest, sha256, write_json
from deepfake.stages.common import (
    alone,
    check_crops,
    crop_settings,
    listed,
    run_to_continue,
    say,
    share,
    test_media,
)
from deepfake.stages.cutting import is_cut
from deepfake.stages.feed import Feed, feeding
from deepfake.stages.logits import Parts, load_panel
from deepfake.stages.plan import Plan, read_plan
from deepfake.stages.scoring import Scoring
from deepfake.stages.submit import check_submit, stands, write_draft, write_submission
from deepfake.tables import LOGITS, PROBLEMS, SCORES, Provenance, is_current

if TYPE_CHECKING:
    import pandas as pd

DRAFT_S = 20.0  # between two drafts of the submission


@dataclass
class Job:
    """What is scored by what, and the name under which it goes out.

    provenance: of all that shapes logits but the crops. pooled: logits of media that models have spoken for, by
    media_id. degraded: what was given up for time, in words.
    """

    cfg: Config
    media: pd.DataFrame
    plan: Plan
    name: str
    provenance: Provenance
    started_s: float
    pooled: dict[str, float] = field(default_factory=dict)
    drafted_s: float = 0.0
    degraded: str = ""


def run(cfg: Config, started_s: float | None = None) -> None:
    """Write submissions/<name>/: logits.parquet, scores.csv, infer_problems.csv, config.json, and what is handed in.

    <name> is the run's, with the data set's where that is not the one that the run was trained on. Test media that are
    not cut yet are cut on the way. started_s: when the clock of infer.budget_minutes began, by time.monotonic; None =
    now.
    """
    started_s = time.monotonic() if started_s is None else started_s
    run_to_continue(cfg)  # refuses a run without trained folds
    check(cfg)
    plan = read_plan(cfg)
    name = cfg.run if cfg.dataset == plan.dataset else f"{cfg.run}_{cfg.dataset}"
    job = Job(cfg, test_media(cfg), plan, name, _provenance(cfg, plan), started_s)
    lock = layout.infer_lock(cfg.paths.submissions, name)
    with alone(lock, f"another process infers into {lock.parent}: wait for it, or stop it"):
        logits_path = layout.logits_table(cfg.paths.submissions, name)
        if is_cut(cfg, job.media, "test") and is_current(logits_path, _of_crops(job)):
            say("infer", f"up to date: {logits_path}")
            _submit(job, LOGITS.read(logits_path), None)
        else:
            _infer(job)


def check(cfg: Config) -> None:
    """UserError for all that can be known to be wrong before the work begins: crops of other settings, no test media,
    a sample submission that is broken or asks for others, a hand-in that could not be done."""
    check_crops(cfg)
    check_submit(cfg, test_media(cfg).media_id)


def _provenance(cfg: Config, plan: Plan) -> Provenance:
    weights = {f"{member.run} fold {member.fold}": sha256(member.weights) for member in plan.members}
    inputs = weights | {
        "media": sha256(layout.media_table(cfg.paths.data, cfg.dataset)),
        "blend": digest([blend.to_json() for blend in plan.blends]),
        "fallbacks": digest(plan.fallbacks),
        "views": ",".join(plan.views),
    }
    return Provenance("infer", shaping(cfg, "infer") | {"crops": crop_settings(cfg)}, inputs)


def _of_crops(job: Job) -> Provenance:
    """Of logits of the very crops that are there now."""
    faces = sha256(layout.faces_table(job.cfg.paths.data, job.cfg.dataset))
    return replace(job.provenance, inputs=job.provenance.inputs | {"faces": faces})


def _infer(job: Job) -> None:
    import pandas as pd

    from deepfake.score.fallback import stated_rows

    submissions = job.cfg.paths.submissions
    parts = Parts.of(layout.parts_folder(submissions, job.name), digest(vars(job.provenance)))
    for rows in parts.rows:
        job.pooled |= _combined(job, rows).to_dict()
    _write_config(job)  # beside the draft, so that it can be checked
    if parts.rows or not stands(job.cfg, job.name, job.media.media_id):
        _draft(job)  # else what lies there is no worse, until the first step
    scoring, feed = _score(job, parts)
    provenance = _of_crops(job)
    job.degraded = scoring.degraded
    if job.degraded:
        say("infer", f"{job.degraded}; the same command goes on, without infer.budget_minutes to the full")
        provenance = replace(provenance, inputs=provenance.inputs | {"incomplete": job.degraded})
    stated = stated_rows(_reasons(job, parts.rows, scoring.faceless, set(feed.problems)), job.plan.fallbacks)
    rows = pd.concat([*parts.rows, stated])
    logits = LOGITS.write(rows, layout.logits_table(submissions, job.name), provenance)
    _submit(job, logits, feed)
    if not job.degraded:
        shutil.rmtree(layout.parts_folder(submissions, job.name), ignore_errors=True)


def _write_config(job: Job) -> None:
    cfg = job.cfg
    members = [f"{member.run} fold {member.fold}" for member in job.plan.members]
    record = resolved(cfg) | {
        "name": cfg.run,
        "models": members,
        "degraded": job.degraded,
        "fallbacks": job.plan.fallbacks,
    }
    write_json(record, layout.submission_config(cfg.paths.submissions, job.name))


def _score(job: Job, parts: Parts) -> tuple[Scoring, Feed]:
    from deepfake.learn.views import passes
    from deepfake.score.clock import Clock

    cfg, views = job.cfg, job.plan.views
    clock = Clock(60 * cfg.infer.budget_minutes, [passes(view) for view in views], len(job.plan.members))
    with feeding(cfg, job.media, lambda: clock.effort.stride) as feed:
        scoring = Scoring(
            cfg,
            job.plan,
            feed,
            lambda: load_panel(cfg, job.plan),
            clock,
            parts,
            job.started_s,
            lambda rows: _step(job, rows),
        )
        scoring.run()
    return scoring, feed


def _combined(job: Job, rows: pd.DataFrame) -> pd.Series:
    """Logits of media by media_id."""
    from deepfake.score.combine import combine

    return combine(rows, job.plan.blends)


def _step(job: Job, rows: pd.DataFrame) -> None:
    job.pooled |= _combined(job, rows).to_dict()
    if time.monotonic() - job.drafted_s >= DRAFT_S:
        _draft(job)


def _draft(job: Job) -> None:
    """A submission of what is known, whole at any time: media that are still to be scored have the late ones' logit."""
    import pandas as pd

    late = job.plan.fallbacks["late"]["logit"]
    known = {media_id: job.pooled.get(media_id, late) for media_id in sorted(job.media.media_id)}
    write_draft(job.cfg, job.name, pd.Series(known), threshold=job.plan.threshold)
    job.drafted_s = time.monotonic()


def _reasons(job: Job, parts: list[pd.DataFrame], faceless: set[str], unreadable: set[str]) -> dict[str, str]:
    """media_id → why no model speaks for it."""
    scored = set().union(*(rows.media_id for rows in parts))
    return {
        media_id: "no_face" if media_id in faceless else "unreadable" if media_id in unreadable else "late"
        for media_id in sorted(job.media.media_id)
        if media_id not in scored
    }


def _submit(job: Job, logits: pd.DataFrame, feed: Feed | None) -> None:
    """From all logits to the tables beside the submission, and the submission. feed: None = nothing came from one."""
    from deepfake.score.combine import media_scores

    cfg, folder = job.cfg, layout.submission_folder(job.cfg.paths.submissions, job.name)
    scores = SCORES.write(media_scores(logits, job.plan.blends), layout.scores_table(cfg.paths.submissions, job.name))
    pooled = scores.set_index("media_id").logit
    if feed is not None:
        PROBLEMS.write(_problems(scores, feed), layout.problems_table(folder, "infer"))
    _write_config(job)
    _tell_fallbacks(job, scores)
    _print_test_score(job, pooled)
    write_submission(
        cfg,
        job.name,
        pooled,
        runs=job.plan.runs,
        config_sha256=digest(vars(job.provenance)),
        threshold=job.plan.threshold,
        cv=None if job.degraded else job.plan.cv,
        cv_metric=job.plan.cv_metric,
    )


def _problems(scores: pd.DataFrame, feed: Feed) -> pd.DataFrame:
    """Media that no model spoke for, unreadable ones with extraction's reason."""
    import pandas as pd

    rows = []
    for row in scores[scores.fallback.notna()].itertuples():
        error, detail = feed.problems.get(row.media_id, (row.fallback, None))
        rows.append({"media_id": row.media_id, "error": error, "detail": detail})
    return pd.DataFrame(rows, columns=list(PROBLEMS.columns)) if rows else PROBLEMS.empty()


def _tell_fallbacks(job: Job, scores: pd.DataFrame) -> None:
    folder = layout.submission_folder(job.cfg.paths.submissions, job.name)
    for reason, media in scores[scores.fallback.notna()].groupby("fallback"):
        entry = job.plan.fallbacks[reason]
        say(
            "infer",
            f"{share(len(media), len(scores))} test media got the stated logit {entry['logit']:.3f} ({entry['from']}): "
            f"{reason}: {listed(media.media_id)}; see {folder / 'infer_problems.csv'}",
        )


def _print_test_score(job: Job, pooled: pd.Series) -> None:
    from deepfake.score.gain import metric_of
    from deepfake.score.metrics import binary_metrics

    known = job.media[job.media.label.notna()].set_index("media_id")
    if known.empty:
        return
    labels, logits = known.label.to_numpy(int), pooled.loc[known.index].to_numpy()
    scores = binary_metrics(labels, logits)
    tuned = job.plan.threshold
    accuracy, macro_f1 = (metric_of(metric, labels, logits - (tuned or 0)) for metric in ("accuracy", "macro_f1"))
    say(
        "infer",
        f"test, {share(len(known), len(job.media))} media with a known label, medium level: "
        f"AUC {scores['auc']:.4f}, log loss {scores['log_loss']:.4f}, AP {scores['ap']:.4f}, "
        f"accuracy {accuracy:.4f}, macro-F1 {macro_f1:.4f} ({'at P(fake) .5' if tuned is None else 'as tuned'})",
    )
    for method, rows in known[known.label == 1].groupby(known.method.fillna("fake")):
        reals = known[known.label == 0]
        if len(reals) and known.method.nunique() > 2:
            both = [*reals.index, *rows.index]
            auc = binary_metrics(known.label.loc[both].to_numpy(int), pooled.loc[both])["auc"]
            say("infer", f"  {method}: AUC {auc:.4f} over {len(rows)} fakes and {len(reals)} reals")
