"""bindings/julia as far as it can be told without Julia: its declarations against the header and a C compiler, its syntax.

The header is read by pycparser and the declarations by a grammar of Julia: neither is what wrote them.
"""

import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import tree_sitter
import tree_sitter_julia
from pycparser import c_ast, c_parser

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bindings/julia"
GRAMMAR = tree_sitter.Parser(tree_sitter.Language(tree_sitter_julia.language()))

# What the header takes from C's own headers, which pycparser cannot read.
STANDARD = "".join(
    f"typedef {base} {name};\n"
    for base, name in [
        ("int", "int32_t"), ("long", "int64_t"), ("unsigned long", "uint64_t"), ("unsigned long", "size_t"),
    ]
)
JULIA_TYPES = {
    "Cint": "int", "Int32": "int32_t", "Int64": "int64_t", "UInt64": "uint64_t", "Csize_t": "size_t", "Cdouble": "double",
    "Cvoid": "void",
}
ALIASES = {"MetaxyStatus": "int32_t"}
CALLBACK = ("void", 1)


def julia_type(text):
    """A Julia type as C's base type and the number of stars."""
    stars = 0
    while text.startswith("Ptr{"):
        text, stars = text[4:-1], stars + 1
    if text == "Cstring":
        return "char", stars + 1
    return JULIA_TYPES.get(text, text), stars


def c_type(node):
    """The same of a declaration that pycparser has read; what is const does not matter to a call."""
    stars = 0
    while isinstance(node, c_ast.PtrDecl):
        node, stars = node.type, stars + 1
    if isinstance(node, c_ast.FuncDecl):
        return CALLBACK
    kind = node.type
    name = kind.name if isinstance(kind, c_ast.Struct) else " ".join(kind.names)
    if name.endswith("Callback"):
        return CALLBACK
    return ALIASES.get(name, name), stars


def parse_header():
    with tempfile.TemporaryDirectory() as directory:
        for name in ("stddef.h", "stdint.h"):
            Path(directory, name).touch()
        command = ["gcc", "-E", "-P", "-nostdinc", "-I", directory, str(ROOT / "include/metaxy.h")]
        code = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    functions, structs = {}, {}
    for item in c_parser.CParser().parse(STANDARD + code).ext:
        if not isinstance(item, c_ast.Decl):
            continue
        if isinstance(item.type, c_ast.FuncDecl):
            parameters = [p for p in item.type.args.params if c_type(p.type) != ("void", 0)]
            functions[item.name] = (c_type(item.type.type), [(p.name, c_type(p.type)) for p in parameters])
        elif isinstance(item.type, c_ast.Struct) and item.type.decls:
            structs[item.type.name] = [(field.name, c_type(field.type)) for field in item.type.decls]
    return functions, structs


def children(node, kind):
    return [child for child in node.named_children if child.type == kind]


def source(node):
    return node.text.decode()


def typed(node):
    """The name and the type of `name::Type`."""
    name, kind = node.named_children
    return source(name), julia_type(source(kind))


def parse_declarations():
    root = GRAMMAR.parse((PACKAGE / "src/declarations.jl").read_bytes()).root_node
    functions, structs = {}, {}
    for node in children(root, "function_definition"):
        signature = source(node.child(1))
        call = node.named_children[-1].named_children[-1].named_children[-1]
        callee, result = call.named_children
        symbol, arguments = callee.named_children
        name = re.fullmatch(r"\$\(symbol\(:(\w+)\)\)", source(symbol))[1]
        parameters = [typed(argument) for argument in arguments.named_children]
        assert signature == f"{name}({', '.join(parameter for parameter, _ in parameters)})", signature
        functions[name] = (julia_type(source(result)), parameters)
    for node in children(root, "struct_definition"):
        if fields := children(node, "typed_expression"):
            structs[source(node.named_children[0])] = [typed(field) for field in fields]
    constants = dict(re.findall(r"^const (\w+) = (?:Int32\()?(.+?)\)?$", source(root), re.M))
    return functions, structs, constants


class Julia(unittest.TestCase):
    def test_the_declarations_are_what_the_header_says_now(self):
        subprocess.run([sys.executable, ROOT / "scripts/julia_declarations.py", "--check"], check=True)

    def test_every_function_and_struct_agrees_with_the_header(self):
        functions, structs = parse_header()
        declared_functions, declared_structs, _ = parse_declarations()
        self.assertGreater(len(functions), 100)
        self.assertEqual(functions, declared_functions)
        self.assertEqual(len(structs), 3)
        self.assertEqual(structs, declared_structs)

    def test_every_constant_and_layout_is_that_of_the_compiler(self):
        _, structs, constants = parse_declarations()
        macros = subprocess.run(
            ["gcc", "-E", "-dM", ROOT / "include/metaxy.h"], check=True, capture_output=True, text=True
        ).stdout
        names = set(re.findall(r"^#define ((?:METAXY|ARROW_FLAG)_\w+) \S", macros, re.M))
        self.assertEqual(names, set(constants))
        # Julia lays a struct out as C does. All of its types here have the size of their alignment.
        bytes_of = {"int32_t": 4, "int": 4}
        lines, expected = [], []
        for name, fields in structs.items():
            at = 0
            for field, (base, stars) in fields:
                size = 8 if stars else bytes_of.get(base, 8)
                at = -(-at // size) * size
                lines.append(f'printf("%zu %zu\\n", offsetof(struct {name}, {field}), sizeof ((struct {name} *)0)->{field});')
                expected.append(f"{at} {size}")
                at += size
            lines.append(f'printf("%zu\\n", sizeof(struct {name}));')
            expected.append(str(-(-at // 8) * 8))
        for name, value in constants.items():
            is_text = value.startswith('"')
            lines.append(f'printf("%{"s" if is_text else "d"}\\n", {name});')
            expected.append(value.strip('"'))
        with tempfile.TemporaryDirectory() as directory:
            program = Path(directory, "layout")
            code = "#include <metaxy.h>\n#include <stdio.h>\nint main(void) {" + "\n".join(lines) + "return 0;}"
            command = ["gcc", "-std=c11", "-Wall", "-Werror", "-I", ROOT / "include", "-x", "c", "-", "-o", program]
            subprocess.run(command, input=code, check=True, text=True)
            printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        self.assertEqual(printed.split("\n")[:-1], expected)

    def test_every_file_and_snippet_is_well_formed(self):
        texts = {path: path.read_text() for path in PACKAGE.rglob("*.jl")}
        self.assertGreaterEqual(len(texts), 7)
        for page in (PACKAGE / "README.md", ROOT / "docs/quickstart.md"):
            snippets = re.findall(r"```julia\n(.*?)```", page.read_text(), re.S)
            self.assertTrue(snippets, page)
            texts |= {f"{page}, snippet {number}": snippet for number, snippet in enumerate(snippets)}
        for path, text in texts.items():
            todo = [GRAMMAR.parse(text.encode()).root_node]
            while todo:
                node = todo.pop()
                self.assertFalse(node.is_error or node.is_missing, f"{path}, line {node.start_point[0] + 1}: {source(node)}")
                todo += node.children
        self.assertFalse(self.errors_of("f(x) = x + 1"))
        self.assertTrue(self.errors_of("function f(x\nend end"))

    def test_what_is_used_is_declared_and_called_with_as_many_arguments(self):
        functions, structs, constants = parse_declarations()
        handles = set(re.findall(r"^struct (\w+) end", (PACKAGE / "src/declarations.jl").read_text(), re.M))
        used, calls = set(), 0
        for path in PACKAGE.rglob("*.jl"):
            text = path.read_text()
            used |= set(re.findall(r"\bLibMetaxy\.((?:metaxy|METAXY|ARROW|Metaxy|Arrow)\w*)", text))
            todo = [GRAMMAR.parse(text.encode()).root_node]
            while todo:
                node = todo.pop()
                todo += node.children
                if node.type != "call_expression" or node.named_children[1].type != "argument_list":
                    continue
                # Either the function itself, or `check` and `run`, which add the error.
                terms = [source(term) for term in [node.named_children[0], *node.named_children[1].named_children]]
                added = 1 if terms[0] in ("check", "run") else 0
                terms = terms[{"check": 1, "run": 2}.get(terms[0], 0):]
                if found := re.fullmatch(r"(?:Metaxy\.)?LibMetaxy\.(metaxy_\w+)", terms[0] if terms else ""):
                    calls += 1
                    self.assertEqual(len(functions[found[1]][1]), len(terms) - 1 + added, source(node))
        self.assertGreater(calls, 30)
        self.assertGreater(len(used), 40)
        self.assertEqual(used - {*functions, *structs, *constants, *handles}, set())

    @staticmethod
    def errors_of(text):
        return GRAMMAR.parse(text.encode()).root_node.has_error


if __name__ == "__main__":
    unittest.main()
