"""C++ source as text for tools/tidy.py: comments and literals blanked out, functions measured."""
import re

TOKEN = re.compile(
    r'(?P<line>//[^\n]*)'
    r'|(?P<block>/\*.*?\*/)'
    r'|(?P<raw>R"(?P<tag>[^\s()\\]{0,16})\(.*?\)(?P=tag)")'
    r'|(?P<string>"(?:\\.|[^"\\\n])*")'
    r"|(?P<number>(?<![\w'])[0-9][\w.]*(?:'[\w.]+)+)"
    r"|(?P<char>(?<!\w)(?:u8|[uUL])?'(?:\\.|[^'\\\n])+')", re.S)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.M)
TYPE_SCOPE = re.compile(r"\b(?:namespace|class|struct|union|enum|extern)\b")


def _blank(match):
    """The match without its visible characters; lines stay where they are."""
    return re.sub(r"[^\n]", " ", match.group(0))


def code_only(text):
    """The text with comments and literals replaced by blanks of the same shape."""
    return TOKEN.sub(_blank, text)


def _opens_function(head):
    """Whether a `{` after this head, at namespace or class level, opens a function's body."""
    if "(" not in head or head.rstrip().endswith(("=", ",", "(")):
        return False
    before_parameters = head.split("(", 1)[0]
    return not TYPE_SCOPE.search(before_parameters) or "operator" in before_parameters


def functions(text):
    """(first line, lines, head) of every function body, lambdas counted with what holds them."""
    code = DIRECTIVE.sub(_blank, code_only(text))
    scopes, found = [], []  # scopes: (kind, line, head, where the head starts)
    head_start, line = 0, 1
    for position, char in enumerate(code):
        if char == "\n":
            line += 1
        elif char == "{":
            head = code[head_start:position]
            inside = scopes and scopes[-1][0] in ("function", "block")
            kind = "block" if inside else "function" if _opens_function(head) else "scope"
            scopes.append((kind, line, " ".join(head.split()), head_start))
            head_start = position + 1
        elif char == "}":
            kind, first, head, start = scopes.pop() if scopes else ("scope", line, "", 0)
            head_start = position + 1
            if kind == "function" and re.match(r"\s*[,{]", code[position + 1:position + 200]):
                head_start = start  # b_{1} of a constructor's initialisers: the body follows
            elif kind == "function":
                found.append((first, line - first + 1, head))
        elif char == ";":
            head_start = position + 1
    return found
