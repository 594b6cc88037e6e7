"""Completion for bash and zsh, and the manual page, made from the parser: so they never say what is not so.

source <(clasp-edge completion bash)
clasp-edge completion man | man -l -
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("bash", "zsh", "man")


class Command(NamedTuple):
    """One command and what it takes. `words` is its name, with its action where it has actions."""

    words: tuple[str, ...]
    about: str
    parser: argparse.ArgumentParser


def commands_of(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[Command]:
    """Every command below the parser, in the order of its help."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        about = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, below in action.choices.items():
            yield Command((*words, name), about.get(name, ""), below)
            yield from commands_of(below, (*words, name))


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What begins with a dash."""
    return [action for action in parser._actions if action.option_strings and action.help != argparse.SUPPRESS]


def bash(parser: argparse.ArgumentParser) -> str:
    """A script for bash."""
    lines = [
        "# Completion of clasp-edge for bash: source <(clasp-edge completion bash)",
        "_clasp_edge() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" words="" at="${COMP_WORDS[1]}"',
        '    [ "$COMP_CWORD" -gt 2 ] && at="$at ${COMP_WORDS[2]}"',
        '    case "$COMP_CWORD:$at" in',
        f"        1:*) words={_quoted(' '.join(_below(parser)))} ;;",
    ]
    # Those of two words first: a command's own case fits what comes after its action as well.
    for command in sorted(commands_of(parser), key=lambda command: -len(command.words)):
        options = [option for each in options_of(command.parser) for option in each.option_strings]
        name = "\\ ".join(command.words)
        pattern = f"*:{name}" if len(command.words) > 1 else f"*:{name}|*:{name}\\ *"
        lines.append(f"        {pattern}) words={_quoted(' '.join([*_below(command.parser), *options]))} ;;")
    lines += [
        "    esac",
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
        '    [ ${#COMPREPLY[@]} -eq 0 ] && COMPREPLY=($(compgen -f -- "$word"))',
        "}",
        "complete -o filenames -F _clasp_edge clasp-edge",
        "",
    ]
    return "\n".join(lines)


def zsh(parser: argparse.ArgumentParser) -> str:
    """A script for zsh: file it as _clasp-edge in a directory of $fpath, or source it."""
    lines = [
        "#compdef clasp-edge",
        "_clasp_edge() {",
        "    local -a found",
        '    local at="${words[2]}"',
        "    if (( CURRENT == 2 )); then",
        "        found=(",
        *(
            f"            {_quoted(f'{c.words[0]}:{_plain(c.about)}')}"
            for c in commands_of(parser)
            if len(c.words) == 1
        ),
        "        )",
        "        _describe command found",
        "        return",
        "    fi",
        '    (( CURRENT > 3 )) && at="$at ${words[3]}"',
        '    case "$at" in',
    ]
    ordered = sorted(commands_of(parser), key=lambda command: -len(command.words))
    for command in ordered:
        name = _quoted(" ".join(command.words))
        pattern = name if len(command.words) > 1 else f"{name}|{name}\\ *"
        lines += [f"        {pattern})", "            found=("]
        lines += [f"                {_quoted(word)}" for word in _below(command.parser)]
        for each in options_of(command.parser):
            lines += [
                f"                {_quoted(f'{word}:{_plain(each.help or str())}')}" for word in each.option_strings
            ]
        lines += ["            ) ;;"]
    lines += [
        "    esac",
        "    _describe option found",
        "    _files",
        "}",
        'if [ "$funcstack[1]" = "_clasp_edge" ]; then _clasp_edge "$@"; else compdef _clasp_edge clasp-edge; fi',
        "",
    ]
    return "\n".join(lines)


def man(parser: argparse.ArgumentParser) -> str:
    """The manual page, as troff."""
    lines = [
        '.TH CLASP-EDGE 1 "" "clasp-edge" "User Commands"',
        ".SH NAME",
        "clasp-edge \\- CLASP router for single-board computers",
        ".SH SYNOPSIS",
        ".B clasp-edge",
        ".I COMMAND",
        ".RI [ OPTIONS ]",
        ".SH DESCRIPTION",
        "Routes CLASP between clients, speaks MQTT and OSC to the devices around it, and remembers every param",
        "through a power cut. As a service it is started by",
        '.BR "systemctl start clasp-edge" .',
        ".SH COMMANDS",
    ]
    for command in commands_of(parser):
        lines += [".TP", f".B clasp\\-edge {_troff(' '.join([*command.words, *_positionals(command.parser)]))}"]
        lines.append(_troff(_sentence(command.parser.description or command.about)))
        for each in options_of(command.parser):
            if each.dest == "help":
                continue
            value = "" if each.nargs == 0 else f" {each.metavar or each.dest.upper()}"
            about = f": {each.help}" if each.help else ""
            lines += [".br", _troff(f"{', '.join(each.option_strings)}{value}{about}" % _Defaults(each))]
    lines += [
        ".SH FILES",
        ".TP",
        ".I /etc/clasp\\-edge/clasp\\-edge.toml",
        "The configuration.",
        ".TP",
        ".I /etc/clasp\\-edge/conf.d/*.toml",
        "Read after it, in the order of their names.",
        ".TP",
        ".I /var/lib/clasp\\-edge",
        "What outlives the router: the journal, tokens, the certificate.",
        ".TP",
        ".I /run/clasp\\-edge/control.sock",
        "The control socket.",
        ".SH ENVIRONMENT",
        ".TP",
        ".B CLASP_EDGE_URL",
        "The router of the commands that are its clients.",
        ".TP",
        ".B CLASP_EDGE_TOKEN",
        "Their token.",
        ".SH EXIT STATUS",
        "0: done, also where nobody reads the rest of what is printed. 1: the configuration is wrong, the request was",
        "refused, there is nothing, or, with",
        ".BR why ,",
        "something is in the way. 2: it could not start, or the arguments are wrong. 3: no router was reached, or it",
        "does not answer. 4: what is printed could not be written. 130: ended by Ctrl\\-C",
        ".RB ( run ,",
        "once it is ready: 0).",
        ".SH SEE ALSO",
        ".I /usr/share/doc/clasp\\-edge/README.md",
        "",
    ]
    return "\n".join(lines)


def _positionals(parser: argparse.ArgumentParser) -> Iterator[str]:
    for each in parser._actions:
        if not each.option_strings and not isinstance(each, argparse._SubParsersAction):
            name = each.metavar if isinstance(each.metavar, str) else "|".join(each.choices or (each.dest.upper(),))
            yield f"[{name}]" if each.nargs in ("?", "*") else name


class _Defaults(dict[str, object]):
    """What argparse would put in for %(default)s and the like."""

    def __init__(self, action: argparse.Action) -> None:
        super().__init__(vars(action))


def _below(parser: argparse.ArgumentParser) -> list[str]:
    return [name for each in parser._actions if isinstance(each, argparse._SubParsersAction) for name in each.choices]


def _plain(text: str) -> str:
    return text.replace(":", " ").replace("%%", "%")


def _quoted(text: str) -> str:
    """For a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _troff(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", ")")) or not text else f"{text[0].upper()}{text[1:]}."
