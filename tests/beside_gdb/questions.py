"""Lines for gdb and kvmdbg alike: print, whatis and ptype of expressions over program.c, made from a seed."""

from __future__ import annotations

import random

INTEGERS = """yes no chr sch uch sh ush num now start high least lng ulng ll ull col odd fl more wd vol fixed both pt.x
    any.i any.c[3] any.s[1] table[1] table[4] matrix[1][2] bytes[3] buf[0] shorts[0] g.a g.in.c g.in.s g.in.u.i g.p[1].y
    g.b g.col g.bits3 g.bits5 g.mode g.wide g.bytes[2] g.ull g.deep[1] g.raw g.part[0] bp->a bp->bits5 ptp->x *ip ip[1]
    pts->x g.p->y **pp bools[2] cols[2] kmain::count 'program.c'::num ::now nameless.q str[2] *str node.high node.low
    node.whole node.e node.bit node.sub.more.in[1] node.sub.raw cube[1][0][0] tint tiny[0] packed.i packed.l lanes[1]
    grid[1][2] GREEN BLUE WRITE wide wname[5] c16 c32 s32[2] mixture.w[1] mixture.h u8 half""".split()
HUGE = "huge minus most".split()
FLOATS = """f1 f2 d1 d2 ld1 floats[1] floats[2] doubles[1] g.in.u.f g.d any.f dinf bp->d real lds[1] node.sub.f
    shapes[0].w""".split()
POINTERS = """ip vp str cp null rows pp ptp bp fp &num &pt &g &g.in &table[2] &matrix[1] table matrix buf &uch &d1 &ld1
    g.ip g.text g.self pointers[1] &pts[1] &g.p[1] &fp &yes &col calls[0] g.call &buf &kmain::count
    node.next secret &secrets maker &maker &signals signals[0] cube cube[1] names[0] &names[1] &tiny &packed &packed.l
    &lanes wname wp p16 s32 &s16 &wide &mixture.w grid grid[1] &shapes[1].w &node.sub &real &node.sub.more.in""".split()
WHOLES = """pt any table matrix bytes buf full shorts zeros mixed floats doubles bools cols pts texts many longer g g.in
    g.p *bp *ptp nameless pointers calls g.name g.bytes g.in.u *rows matrix[1] *g.self pts[2] g.deep node
    *node.next node.sub waves waves[1] lanes secret secrets signals cube names tiny lds packed grid shapes
    wname wrep s16 s32 mixture shapes[0]""".split()
FUNCTIONS = ["twice", "nothing", "sum3", "*fp", "*twice", "&twice", "fp", "kmain"]
TYPES = ["char", "signed char", "unsigned char", "short", "unsigned short", "int", "unsigned", "long", "unsigned long",
         "long long", "unsigned long long int", "float", "double", "long double", "word", "enum colour",
         "u16", "wchar_t", "char32_t"]  # fmt: skip
POINTER_TYPES = ["char *", "int *", "unsigned char *", "void *", "point_t *", "struct big *", "short *", "int (*)[4]",
                 "int (*)(int)", "int **", "double *"]  # fmt: skip
NAMED = [*TYPES, *POINTER_TYPES, "point_t", "struct point", "struct big", "struct inner", "union any", "enum flags",
         "int [3]", "const char *", "char [2][4]", "long unsigned int", "short int"]  # fmt: skip
LITERALS = """0 1 2 3 7 10 100 255 256 1000 65536 2147483647 2147483648 4294967295 0x7f 0xff 0x7fffffff 0x80000000
    0xffffffff 0x100000000 0xffffffffffffffff 1u 10ul 5l 7ll 0xffull 010 'a' 'z' '\\n' '\\377' '\\0'
    L'a' u'z' U'\\x41' L'\\n'""".split()
FLOAT_LITERALS = "0.5 1.0 2.5 3.75 1e10 1e-5 100.25f 0.1f 1.5l 0.1l 1e300 123456789.0 2e0".split()
BINARY = "+ - * / % & | ^ << >> == != < <= > >= && ||".split()
FLOAT_BINARY = "+ - * / == != < <= > >= && ||".split()
LITERAL_ARRAYS = ["{1, 2, 3}", "{num, 7}", "{'a', 'b', 'c'}", "{{1, 2}, {3, 4}}", "{1.5, 2.5}[1]", "{yes, no}",
                  "{1, 'a'}", "{pt, pts[1]}", 'L"abc"', 'u"abc"', 'U"x\\ty"', 'L"ab" "cd"', '"a\\x41\\101"[1]',
                  'L"abc"[1]',
                  "{short}&num", "{int[2]}table", "{char}&wide", "{wchar_t[2]}wname"]  # fmt: skip
FORMATS = "x d u o t c z a f s".split()
OPTIONS = ["-pretty", "-elements 3", "-elements 10", "-repeats 3", "-array", "-array-indexes", "-union off",
           "-symbol off", "-null-stop", "-address off", "-max-depth 1", "-pretty -array",
           "-elements unlimited"]  # fmt: skip


class Questions:
    """Endless ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _one(self, among: list[str]) -> str:
        return self._random.choice(among)

    def _integer(self, depth: int) -> str:
        kind = self._random.random()
        if not depth or kind < 0.25:
            return self._one(INTEGERS if self._random.random() < 0.65 else LITERALS)
        if kind < 0.62:
            op = self._one(BINARY)
            right = self._one("0 1 3 7 12 31".split()) if op in ("<<", ">>") else self._integer(depth - 1)
            return f"({self._integer(depth - 1)} {op} {right})"
        if kind < 0.74:
            return f"{self._one(['-', '~', '!', '+'])}{self._grouped(self._integer(depth - 1))}"
        if kind < 0.86:
            return f"({self._one(TYPES[:11])}){self._grouped(self._number(depth - 1))}"
        if kind < 0.90:
            return f"sizeof({self._one([self._integer(depth - 1), self._one(NAMED), self._one(WHOLES)])})"
        if kind < 0.95:
            return f"({self._integer(depth - 1)} ? {self._integer(depth - 1)} : {self._integer(depth - 1)})"
        return (
            f"({self._one(['ip', '&table[2]', 'table'])} {self._one(['==', '!=', '<', '>'])} &table[{self._index()}])"
        )

    def _index(self) -> str:
        return self._one(["0", "1", "2", "3"])

    @staticmethod
    def _grouped(text: str) -> str:
        return text if text[0] == "(" or text.isalnum() else f"({text})"

    def _float(self, depth: int) -> str:
        kind = self._random.random()
        if not depth or kind < 0.3:
            return self._one(FLOATS if self._random.random() < 0.6 else FLOAT_LITERALS)
        if kind < 0.75:
            sides = [self._float(depth - 1), self._number(depth - 1)]
            self._random.shuffle(sides)
            return f"({sides[0]} {self._one(FLOAT_BINARY)} {sides[1]})"
        if kind < 0.85:
            return f"-{self._grouped(self._float(depth - 1))}"
        return f"({self._one(['float', 'double', 'long double'])}){self._grouped(self._number(depth - 1))}"

    def _number(self, depth: int) -> str:
        return self._float(depth) if self._random.random() < 0.3 else self._integer(depth)

    def _pointer(self, depth: int) -> str:
        kind = self._random.random()
        if not depth or kind < 0.5:
            return self._one(POINTERS)
        if kind < 0.65:
            return f"({self._one(['table', 'ip', '&g.a', 'buf', 'rows', 'pts', '&pt', 'bytes'])} + {self._index()})"
        if kind < 0.85:
            return f"({self._one(POINTER_TYPES)}){self._grouped(self._pointer(depth - 1))}"
        return f"({self._one(POINTER_TYPES)}){self._one(['0', '0x500', '(long)&g', '&table[1]'])}"

    def _whole(self) -> str:
        kind = self._random.random()
        if kind < 0.6:
            return self._one(WHOLES)
        if kind < 0.75:
            return f"{self._one(['*table', 'table[1]', '*ip', '*buf', '*pts', '*rows', 'g.p[0]', '*str', 'now'])}@2"
        if kind < 0.85:
            return f"*({self._one(['int (*)[2]', 'char (*)[4]', 'short (*)[2][2]', 'point_t *'])})&g"
        if kind < 0.92:
            return self._one(LITERAL_ARRAYS)
        return self._one(["(char[4])num", "(short[2])now", '"abc"', '"a" "b\\n"', "{point_t}&pt", "*(union any *)&f1"])

    def question(self) -> str:
        """One line."""
        kind = self._random.random()
        if kind < 0.42:
            return f"print {self._something()}"
        if kind < 0.46:
            return self._one([f"print $kept = {self._kept()}", "print $kept", "whatis $kept"])
        if kind < 0.62:
            letter = self._one(FORMATS)
            return f"print/{letter} {self._something()}"
        if kind < 0.70:
            return f"print {self._one(OPTIONS)} -- {self._whole()}"
        if kind < 0.74:
            return f"output {self._something()}"
        if kind < 0.94:
            return f"whatis {self._something() if self._random.random() < 0.85 else self._one(NAMED)}"
        return f"ptype {self._one([*NAMED, *WHOLES, *POINTERS, *INTEGERS[:20]])}"

    def _kept(self) -> str:
        """Without a ``?:``, whose type differs."""
        found = self._something()
        return found if " ? " not in found else self._kept()

    def _something(self) -> str:
        kind = self._random.random()
        if kind < 0.03:
            one = self._one(HUGE)
            return self._one([one, f"&{one}", f"*&{one}", f"sizeof({one})"])
        if kind < 0.45:
            return self._integer(self._random.randint(0, 3))
        if kind < 0.65:
            return self._float(self._random.randint(0, 2))
        if kind < 0.8:
            return self._pointer(self._random.randint(0, 2))
        if kind < 0.95:
            return self._whole()
        return self._one(FUNCTIONS)
