"""`completion`: prints what makes a shell complete command lines, which is click's own."""

from __future__ import annotations

import os
from pathlib import Path

import click

from belayed.cli.app import options
from belayed.cli.show import echo
from belayed.errors import ConfigError

VARIABLE = "_BELAYED_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@options
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print what lets a shell complete command lines.

    \b
    bash, in ~/.bashrc:                    eval "$(belayed completion bash)"
    zsh, in ~/.zshrc:                      eval "$(belayed completion zsh)"
    fish, in ~/.config/fish/config.fish:   belayed completion fish | source

    Without the name of a shell it is the one of the variable SHELL.
    """
    from click.shell_completion import get_completion_class

    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name)
    if kind is None:
        raise ConfigError(f"there is no completion for {name or 'a shell that is not named'}: name {', '.join(SHELLS)}")
    echo(kind(ctx.find_root().command, {}, "belayed", VARIABLE).source())
