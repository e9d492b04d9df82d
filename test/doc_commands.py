"""What the pages of the documentation show: code blocks, commands and links, with their places."""

import re
import shlex
import textwrap
from dataclasses import dataclass

from checkout import ROOT

#: Every page that a user reads.
PAGES = [
    *('README.md', 'RELIABILITY.md', 'CONTRIBUTING.md'),
    *sorted(f'docs/{path.name}' for path in (ROOT / 'docs').glob('*.md')),
]

#: Languages of a fenced block that mean a shell; an indented block is one unless it is XML.
SHELL = ('', 'sh', 'bash')

_MARKER = re.compile(r' *(?:[*+-]|\d+[.)]) +')
_FENCE = re.compile(r' *(`{3,}|~{3,})\s*(\w*)')


@dataclass(frozen=True)
class Block:
    """A code block: its page, the line that its text begins on, language and text."""

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One simple command: its page and line, its text, and its words without assignments."""

    page: str
    line: int
    text: str
    words: tuple[str, ...]

    def __str__(self):
        return f'{self.page}:{self.line}: {self.text}'


def blocks_of(page, text):
    """Code blocks of a page of Markdown, fenced or indented, inside lists and outside."""
    blocks, lines = [], text.splitlines()
    contents = [0]  # columns in which the text of the lists around begins
    at, blank = 0, True
    while at < len(lines):
        line = lines[at]
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            at, blank = at + 1, True
            continue
        if blank:
            while indent < contents[-1]:
                contents.pop()
        fence = _FENCE.match(line)
        if fence and indent < contents[-1] + 4:
            end = at + 1
            while end < len(lines) and not lines[end].strip().startswith(fence[1]):
                end += 1
            body = textwrap.dedent('\n'.join(lines[at + 1 : end]))
            blocks.append(Block(page, at + 2, fence[2], body))
            at, blank = end + 1, True
            continue
        if blank and indent >= contents[-1] + 4:
            end = at
            while end < len(lines) and (
                not lines[end].strip() or lines[end].startswith(' ' * (contents[-1] + 4))
            ):
                end += 1
            body = textwrap.dedent('\n'.join(lines[at:end])).rstrip()
            blocks.append(Block(page, at + 1, 'xml' if body.startswith('<') else '', body))
            at, blank = end, True
            continue
        marker = _MARKER.match(line)
        if marker:
            while indent < contents[-1]:
                contents.pop()
            contents.append(marker.end())
        at, blank = at + 1, False
    return blocks


def commands_of(block):
    """The simple commands of a shell block, split at `&&`, `;` and `|`."""
    commands, text, first = [], '', 0
    for number, line in enumerate(block.text.splitlines(), block.line):
        first = first or number
        text += line.removesuffix('\\')
        if line.endswith('\\'):
            continue
        for part in _simple(text):
            words = shlex.split(part)
            while words and re.match(r'[A-Za-z_]\w*=', words[0]):
                words = words[1:]
            if words:
                commands.append(Command(block.page, first, part, tuple(words)))
        text, first = '', 0
    return commands


def _simple(text):
    """Texts of the simple commands of a line, without comments."""
    parts, quote, start, at = [], '', 0, 0
    while at < len(text):
        sign = text[at]
        if quote:
            quote = '' if sign == quote else quote
        elif sign in '"\'':
            quote = sign
        elif sign == '#' and (at == 0 or text[at - 1].isspace()):
            text = text[:at]
        elif sign in ';&|':
            parts.append(text[start:at])
            while at + 1 < len(text) and text[at + 1] in ';&|':
                at += 1
            start = at + 1
        at += 1
    parts.append(text[start:])
    return [' '.join(part.split('\n')).strip() for part in parts if part.strip()]


def all_blocks():
    """Code blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page, (ROOT / page).read_text('utf-8'))]


def all_commands():
    """Simple commands of all pages."""
    blocks = [block for block in all_blocks() if block.language in SHELL]
    return [command for block in blocks for command in commands_of(block)]


def is_training(command):
    """Whether a command needs PyTorch: those are run by test_training_docs.py."""
    return command.words[0] == 'torchrun' or command.words[:3][-1].startswith('training.')


def links_of(text):
    """Targets of the links and pictures of a page, without code."""
    text = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
    return re.findall(r'\]\(([^()\s]+)\)', re.sub(r'`[^`\n]*`', '``', text))


def anchors_of(text):
    """What the headings of a page can be linked by."""
    titles = re.findall(r'^#+ +(.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-') for title in titles}
