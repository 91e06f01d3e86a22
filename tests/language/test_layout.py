"""``ptype`` and ``ptype/o`` of types made by hand, as gdb 13 shows such ones."""

from __future__ import annotations

from kvmdbg.language.abi import abi
from kvmdbg.language.ctype import CType, Member, Method, Static, Typedef, array_of, function_returning, pointer
from kvmdbg.language.declared import declaration, layout

from .test_types import method, reference, structure

C = abi(8)


def enumeration(name: str, values: dict[int, str]) -> CType:
    made = CType("enum", name, 4)
    made.values = values
    return made


def lines(*wanted: str) -> str:
    return "\n".join(wanted)


def test_enumerations() -> None:
    assert declaration(enumeration("enum colour", {0: "RED", 1: "GREEN"})) == "enum colour {RED, GREEN}"
    flags = enumeration("enum flags", {1: "A", 2: "B", 4: "C", 5: "D", -1: "E", 0: "F"})
    assert declaration(flags) == "enum flags {A = 1, B, C = 4, D, E = -1, F}"
    flags.language, flags.given, flags.scoped, flags.underlying = "c++", "Mode", True, C.unsigned
    assert declaration(flags).startswith("enum class Mode : unsigned int {A = 1, ")
    nameless = enumeration("enum {...}", {0: "X"})
    whole = structure("struct s", 8, Member("e", nameless, 0), Member("f", flags, 4), language="c")
    assert declaration(whole) == lines("struct s {", "    enum {X} e;", "    Mode f;", "}").replace("Mode", flags.given)


def test_structures_of_c() -> None:
    inner = structure("struct {...}", 8, Member("a", C.int, 0), Member("b", C.int, 4, 3, 5), language="c")
    outer = structure(
        "struct outer", 48, Member("in", inner, 0), Member("ins", array_of(inner, 2), 8), Member("", inner, 24),
        Member("f", pointer(function_returning(C.int, [C.char]), 8), 32), Member("low", C.unsigned, 40, 0, 3),
        language="c",
    )  # fmt: skip
    assert declaration(outer) == lines(
        "struct outer {", "    struct {", "        int a;", "        int b : 5;", "    } in;", "    struct {",
        "        int a;", "        int b : 5;", "    } ins[2];", "    struct {", "        int a;", "        int b : 5;",
        "    };", "    int (*f)(char);", "    unsigned int low : 3;", "}",
    )  # fmt: skip
    assert declaration(pointer(pointer(outer, 8), 8)).endswith("} **")
    assert declaration(array_of(outer, 3)).endswith("} [3]")
    constant, name = CType("", "", 0), CType("", "", 0)
    constant.qualify(outer, "const")
    assert declaration(constant).startswith("const struct outer {\n")
    name.qualify(pointer(outer, 8), "")
    name.given = "outer_t"
    assert declaration(name).startswith("struct outer {\n") and declaration(name).endswith("} *")
    assert declaration(structure("struct no", 0, language="c")) == "struct no {\n    <incomplete type>\n}"
    assert declaration(structure("struct one", 1, language="c")) == "struct one {\n    <no data fields>\n}"


def heap() -> CType:
    base = structure("Base", 4, Member("x", C.int, 0))
    made = structure("kern::Heap", 24, Member("<Base>", base, 8, access="public"), kind="class")
    table = pointer(pointer(function_returning(C.int), 8), 8)
    made.members += [
        Member("_vptr.Heap", table, 0, made=True), Member("size", C.int, 12, access="private"),
        Member("next", pointer(made, 8), 16),
    ]  # fmt: skip
    made.statics = [Static("count", C.int, "private", 2), Static("last", C.char, "public", 9)]
    made.typedefs = [Typedef("size_type", C.unsigned_long, "public")]
    return made


def test_classes() -> None:
    made = heap()
    constant, this = CType("", "", 0), CType("", "", 0)
    constant.qualify(made, "const")
    this.qualify(pointer(constant, 8), "const")
    made.methods = [
        method(made, "Heap", C.int), method(made, "~Heap", virtual=True), method(made, "grow", virtual=True),
        method(made, "Heap", reference(constant), ending="= delete"), method(made, "made", made=True),
        Method("size_of", function_returning(C.unsigned_long, [this, C.int]), "private"),
        Method("make", function_returning(C.int, [C.int]), "private", static=True),
        Method("operator int", function_returning(C.int, [this]), "public"),
    ]  # fmt: skip
    assert declaration(made) == lines(
        "class kern::Heap : public Base {", "  private:", "    static int count;", "    int size;", "  public:",
        "    kern::Heap *next;", "    static char last;", "", "    Heap(int);",
        "    Heap(const kern::Heap &) = delete;",
        "    ~Heap();".replace("()", "(void)"), "    virtual int grow(void);", "  private:",
        "    unsigned long size_of(int) const;", "    static int make(int);", "  public:",
        "    operator int(void) const;",
        "", "    typedef unsigned long size_type;", "}",
    )  # fmt: skip
    without = declaration(made, methods=False, typedefs=False)
    assert without.endswith("    static char last;\n}") and "typedef" not in without
    plain = structure("Plain", 4, Member("a", C.int, 0))
    plain.methods = [method(plain, "f")]
    assert declaration(plain) == "struct Plain {\n    int a;\n  public:\n    int f(void);\n}"
    hidden = structure("Hidden", 4, Member("a", C.int, 0, access="private"), kind="class")
    assert declaration(hidden) == "class Hidden {\n    int a;\n}"
    hidden.kind = "struct"
    assert declaration(hidden) == "struct Hidden {\n  private:\n    int a;\n}"
    hidden.members = []
    hidden.methods = [method(hidden, "f"), Method("g", function_returning(C.int, []), "private", static=True)]
    assert declaration(hidden) == lines(
        "struct Hidden {", "  public:", "    int f(void);", "  private:", "    static int g(void);", "}"
    )


def test_names_of_a_class_stand_without_it() -> None:
    made = heap()
    own = CType("", "kern::Heap::size_type", 0)
    own.qualify(C.unsigned_long, "")
    made.members.append(Member("most", own, 16))
    assert "    size_type most;" in declaration(made).splitlines()
    below = structure("Below", 24, Member("<Heap>", made, 0), Member("m", own, 8))
    assert "    size_type m;" in declaration(below).splitlines()


def test_places_of_members() -> None:
    made = structure(
        "struct s", 32, Member("a", C.char, 0), Member("b", C.int, 4), Member("low", C.unsigned, 8, 0, 3),
        Member("mid", C.unsigned, 8, 5, 6), Member("high", C.unsigned, 8, 12, 4), Member("c", C.char, 13),
        Member("p", pointer(C.char, 8), 16), Member("d", C.char, 24), language="c",
    )  # fmt: skip
    assert layout(made) == lines(
        "/* offset      |    size */  type = struct s {",
        "/*      0      |       1 */    char a;",
        "/* XXX  3-byte hole      */",
        "/*      4      |       4 */    int b;",
        "/*      8: 0   |       4 */    unsigned int low : 3;",
        "/* XXX  2-bit hole       */",
        "/*      8: 5   |       4 */    unsigned int mid : 6;",
        "/* XXX  1-bit hole       */",
        "/*      9: 4   |       4 */    unsigned int high : 4;",
        "/* XXX  3-byte hole      */",
        "/*     13      |       1 */    char c;",
        "/* XXX  2-byte hole      */",
        "/*     16      |       8 */    char *p;",
        "/*     24      |       1 */    char d;",
        "/* XXX  7-byte padding   */",
        "",
        "                               /* total size (bytes):   32 */",
        "                             }",
    )
    assert layout(made, hexadecimal=True).splitlines()[1:7] == [
        "/* 0x0000      |  0x0001 */    char a;", "/* XXX  3-byte hole      */",
        "/* 0x0004      |  0x0004 */    int b;", "/* 0x0008: 0x0 |  0x0004 */    unsigned int low : 3;",
        "/* XXX  2-bit hole       */", "/* 0x0008: 0x5 |  0x0004 */    unsigned int mid : 6;",
    ]  # fmt: skip


def test_places_in_what_is_inside() -> None:
    either = structure("union {...}", 8, Member("i", C.int, 0), Member("l", C.long, 0), kind="union", language="c")
    point = structure("struct point", 8, Member("x", C.int, 0), Member("y", C.int, 4), language="c")
    nameless = structure("struct {...}", 4, Member("h", C.int, 0), language="c")
    made = structure(
        "struct s", 32, Member("p", point, 0), Member("", either, 8), Member("rows", array_of(nameless, 2), 16),
        Member("t", C.long, 24), language="c",
    )  # fmt: skip
    assert layout(made) == lines(
        "/* offset      |    size */  type = struct s {",
        "/*      0      |       8 */    struct point {",
        "/*      0      |       4 */        int x;",
        "/*      4      |       4 */        int y;",
        "",
        "                                   /* total size (bytes):    8 */",
        "                               } p;",
        "/*      8      |       8 */    union {",
        "/*                     4 */        int i;",
        "/*                     8 */        long l;",
        "",
        "                                   /* total size (bytes):    8 */",
        "                               };",
        "/*     16      |       8 */    struct {",
        "/*      0      |       4 */        int h;",
        "                               } rows[2];",
        "/*     24      |       8 */    long t;",
        "",
        "                               /* total size (bytes):   32 */",
        "                             }",
    )
    later = structure("struct t", 16, Member("a", C.long, 0), Member("p", point, 8), language="c")
    assert layout(later).splitlines()[3:5] == [
        "/*      8      |       4 */        int x;", "/*     12      |       4 */        int y;",
    ]  # fmt: skip


def test_places_in_classes() -> None:
    assert layout(heap()) == lines(
        "/* offset      |    size */  type = class kern::Heap : public Base {",
        "                             private:",
        "                               static int count;",
        "/*     12      |       4 */    int size;",
        "                             public:",
        "/*     16      |       8 */    kern::Heap *next;",
        "                               static char last;",
        "",
        "                               /* total size (bytes):   24 */",
        "                             }",
    )
