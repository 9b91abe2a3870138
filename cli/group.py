"""``tslrec``: the group of all commands, and how their exceptions are reported."""

from __future__ import annotations

from typing import Any

import click

from .. import __version__
from ..errors import TslrecError
from ..runtime.progress import set_verbosity, step
from .bench import bench
from .compare import compare
from .embed import embed
from .evaluate import evaluate
from .every_command import complete
from .export import export
from .finetune import finetune
from .fuse import fuse
from .gguf import gguf
from .interrupts import INTERRUPTED, interruptible
from .prepare import prepare
from .pretrain import pretrain
from .probe import probe
from .recommend import recommend
from .report import report
from .run import run
from .similar import similar
from .train import train
from .tune import tune


class _Main(click.Group):
    """A group that lists its commands in the order of the method and reports TslrecError as one line."""

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        set_verbosity("normal")  # not that of an earlier command in this process
        return super().make_context(*args, **settings)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with interruptible():
                result = super().invoke(ctx)
                step("done")
                return result
        except TslrecError as error:
            raise click.ClickException(" ".join(str(error).split())) from None
        except KeyboardInterrupt:
            click.echo("Interrupted: finished work, and the state of a training up to the last minute, is kept; repeat "
                       "the command to resume", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:  # the reader of a pipe has ended: click exits quietly
            raise
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'writing'}: {error.strerror or error}; check the path, its "
                                       "permissions and the free space") from None


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tslrec")
def main() -> None:
    """Sequential recommendation with item embeddings from a small language model. No GPU needed.

    TSLRec (arXiv 2406.00333): a language model learns from item titles which latent categories each user prefers,
    and then embeds every item. A recommender is trained with and without these embeddings, and the two are compared.

    \b
    The whole chain, with a table of results, on MovieLens-100K or on your own files:
        tslrec run quickstart
        tslrec run ratings.csv --items movies.csv --user-column userId --item-column movieId
    The same, step by step:
        tslrec prepare ml-100k -o dataset
        tslrec pretrain dataset -o pretrain
        tslrec finetune dataset pretrain -o finetune
        tslrec embed dataset --finetuned finetune -o embed
        tslrec train dataset --embeddings embed --adapter init -o sasrec
        tslrec evaluate dataset sasrec
        tslrec recommend dataset sasrec -o recommendations.jsonl

    Every option can also be set by an environment variable: --max-len of train is TSLREC_TRAIN_MAX_LEN.
    Exit status: 0 success, 1 invalid input (the message says what to do), 2 wrong usage, 130 interrupted (Ctrl-C).
    """


for _command in (prepare, pretrain, finetune, embed, probe, train, tune, fuse, evaluate, compare, report, recommend,
                 similar, export, run, bench, gguf):
    main.add_command(_command)
complete(main, "tslrec")
