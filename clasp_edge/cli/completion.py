"""Completion for bash and zsh, and the manual page, made from the parser: so they never say what is not so.

source <(clasp-edge completion bash)
clasp-edge completion man | man -l -
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("bash", "zsh", "man")

ADDRESSES = "addresses"
"""What the scripts ask while an address is typed."""


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


def kind_of(action: argparse.Action, command: Command) -> str:
    """What an argument is: "file", "dir", "address", "none", or "=" with the words to choose from."""
    if action.choices is not None:
        return "=" + " ".join(map(str, action.choices))
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if "FILE" in name:
        return "file"
    if name == "DIRECTORY":
        return "dir"
    # Addresses of OSC are not this router's, and those of a capability stand for no router at all.
    of_router = command.words[0] not in ("osc", "mqtt") and command.words[:2] != ("token", "cap")
    return "address" if of_router and name in ("ADDRESS", "PATTERN") else "none"


def _walk(parser: argparse.ArgumentParser) -> list[str]:
    """A function of both shells: of the words before the one that is typed, which command it is (`at`), and what is
    expected (`kind`): "actions", or as `kind_of` says."""
    commands = list(commands_of(parser))
    valued: dict[str, list[str]] = {}
    expected = []
    for command in commands:
        name = " ".join(command.words)
        for option in options_of(command.parser):
            if option.nargs != 0:
                kind = kind_of(option, command)
                valued.setdefault(kind, []).extend(_quoted(f"{name}:{each}") for each in option.option_strings)
        positionals = [each for each in command.parser._actions if not each.option_strings and each.nargs != "A..."]
        for number, each in enumerate(positionals):
            many = each.nargs in ("*", "+")
            pattern = f"{_quoted(name)}:{'*' if many else number}"
            expected.append(f"        {pattern}) kind={_quoted(kind_of(each, command))} ;;")
    grouped = "|".join(_quoted(" ".join(each.words)) for each in commands if _below(each.parser))
    return [
        "_clasp_edge_what() {",
        '    local w want="" n=0',
        '    at="" kind=""',
        '    for w in "$@"; do',
        '        if [ -n "$want" ]; then want=""; continue; fi',
        '        case "$w" in -*)',
        '            case "$at:$w" in',
        *(f"                {'|'.join(patterns)}) want={_quoted(kind)} ;;" for kind, patterns in valued.items()),
        "            esac",
        "            continue ;;",
        "        esac",
        '        case "$at" in',
        '            "") at="$w" ;;',
        f'            {grouped}) at="$at $w" ;;',
        "            *) n=$((n + 1)) ;;",
        "        esac",
        "    done",
        '    kind="$want"',
        '    [ -n "$kind" ] && return',
        f'    case "$at" in ""|{grouped}) kind=actions; return ;; esac',
        '    case "$at:$n" in',
        *expected,
        "        *) kind=none ;;",
        "    esac",
        "}",
    ]


def bash(parser: argparse.ArgumentParser) -> str:
    """A script for bash."""
    commands = [Command((), "", parser), *commands_of(parser)]
    lines = [
        "# Completion of clasp-edge for bash: source <(clasp-edge completion bash)",
        *_walk(parser),
        "_clasp_edge_words() {",
        '    case "$1:$2" in',
    ]
    for command in commands:
        name = _quoted(" ".join(command.words))
        if below := _below(command.parser):
            lines.append(f"        actions:{name}) echo {_quoted(' '.join(below))} ;;")
        options = [option for each in options_of(command.parser) for option in each.option_strings]
        lines.append(f"        options:{name}) echo {_quoted(' '.join(options))} ;;")
    lines += [
        "    esac",
        "}",
        "_clasp_edge() {",
        "    local i w at kind colons",
        "    local -a all=()",
        "    # A URL is one word: bash has split it at its colons.",
        "    for ((i = 1; i <= COMP_CWORD; i++)); do",
        '        w="${COMP_WORDS[i]}"',
        "        if [ ${#all[@]} -gt 0 ] && [[ $w == [:=]* || ${all[${#all[@]} - 1]} == *[:=] ]]; then",
        '            all[${#all[@]} - 1]+="$w"',
        "        else",
        '            all+=("$w")',
        "        fi",
        "    done",
        '    w="${all[${#all[@]} - 1]}"',
        '    _clasp_edge_what "${all[@]:0:${#all[@]} - 1}"',
        "    COMPREPLY=()",
        '    if [[ $w == -* && $kind != "="* ]]; then kind=options; fi',
        '    case "$kind" in',
        '        actions|options) COMPREPLY=($(compgen -W "$(_clasp_edge_words "$kind" "$at")" -- "$w")) ;;',
        '        "="*) COMPREPLY=($(compgen -W "${kind#=}" -- "$w")) ;;',
        "        file) compopt -o filenames 2>/dev/null",
        '            mapfile -t COMPREPLY < <(compgen -f -- "$w") ;;',
        "        dir) compopt -o filenames 2>/dev/null",
        '            mapfile -t COMPREPLY < <(compgen -d -- "$w") ;;',
        '        address) all[${#all[@]} - 1]="${w//\\\\/}"',
        '            mapfile -t COMPREPLY < <(clasp-edge completion addresses -- "${all[@]}" 2>/dev/null)',
        "            # An address comes from anybody: in the line it is one word, and no command.",
        '            for i in "${!COMPREPLY[@]}"; do printf -v "COMPREPLY[i]" %q "${COMPREPLY[i]}"; done',
        '            [[ "${COMPREPLY[*]}" == */* && "${COMPREPLY[0]}" == */ ]] && compopt -o nospace 2>/dev/null',
        '            colons="${w%"${w##*:}"}"',
        '            [[ $w == *:* && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"$colons"}") ;;',
        "    esac",
        "}",
        "complete -F _clasp_edge clasp-edge",
        "",
    ]
    return "\n".join(lines)


def zsh(parser: argparse.ArgumentParser) -> str:
    """A script for zsh: file it as _clasp-edge in a directory of $fpath, or source it."""
    lines = ["#compdef clasp-edge", *_walk(parser), "_clasp_edge_described() {", '    case "$1:$2" in']
    for command in [Command((), "", parser), *commands_of(parser)]:
        name = " ".join(command.words)
        about = {each.words: each.about for each in commands_of(parser)}
        below = [(word, about[(*command.words, word)]) for word in _below(command.parser)]
        options = [(word, each.help or "") for each in options_of(command.parser) for word in each.option_strings]
        for kind, words in (("actions", below), ("options", options)):
            if words:
                described = " ".join(_quoted(f"{word}:{_plain(text % _Help())}") for word, text in words)
                lines.append(f"        {kind}:{_quoted(name)}) found=({described}) ;;")
    lines += [
        "    esac",
        "}",
        "_clasp_edge() {",
        "    local at kind",
        "    local -a found",
        '    _clasp_edge_what "${(@)words[2,CURRENT-1]}"',
        '    if [[ $words[CURRENT] == -* && $kind != "="* ]]; then kind=options; fi',
        '    case "$kind" in',
        '        actions|options) _clasp_edge_described "$kind" "$at"; _describe -t "$kind" "$kind" found ;;',
        '        "="*) found=("${(s: :)kind#=}"); compadd -a found ;;',
        "        file) _files ;;",
        "        dir) _files -/ ;;",
        '        address) found=("${(@f)$(clasp-edge completion addresses -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")',
        "            compadd -S '' -- ${(M)found:#*/}",
        "            compadd -- ${found:#(|*/)} ;;",
        "    esac",
        "}",
        'case "$funcstack[1]" in _clasp-edge) _clasp_edge "$@" ;; *) compdef _clasp_edge clasp-edge ;; esac',
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


class _Help(dict[str, object]):
    """Help texts in a list of options: what stands for a default is left out."""

    def __missing__(self, key: str) -> str:
        return "..."


def _plain(text: str) -> str:
    return " ".join(text.replace(":", " ").split())


def _quoted(text: str) -> str:
    """For a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _troff(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", ")")) or not text else f"{text[0].upper()}{text[1:]}."
