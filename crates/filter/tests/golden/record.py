#!/usr/bin/env python3
"""Records what the official SQL92 filter answers to a table of expressions and messages.

    mvn -f tests/java -pl official-5.5.0 process-classes      # writes below target
    python3 crates/filter/tests/golden/record.py --java-build target

Writes sql92.tsv beside this file. Lines: `message`, then name=value for each property; `expression`,
its text, one letter per message (T, F, N = NULL, X = an exception) or `refused`, and the sentence of
a refusal where it is the library's own (parse errors have JavaCC's, which nobody repeats).
"""
import argparse
import pathlib
import random
import subprocess

HERE = pathlib.Path(__file__).parent

MESSAGES = [
    {}, {"a": "0"}, {"a": "2"}, {"a": "zz"}, {"a": "2", "b": "2"}, {"a": "-7", "b": "3.5"},
    {"a": "true", "b": "false"}, {"a": "", "b": " 2 "}, {"a": "3000000000", "b": "1e3"},
    {"a": "Hello World", "b": "it's", "c": "x"}, {"a": "NaN", "b": "Infinity", "c": "-Infinity"},
    {"a": "2.0", "b": "+2", "c": "2d"}, {"a": "9223372036854775808", "c": "9223372036854775807"},
    {"a": "TRUE", "b": "TagA", "A": "upper"}, {"$x_1": "5", "_y": "6", "c": "\u4e2d\u6587"},
    {"a": "-0.0", "b": "0.0", "c": "00"},
]

BY_HAND = """
a > 1|a <> '2'|a <> 2|a = 2|a IS NULL|a IN('0','zz')|a BETWEEN 0 AND 5|TRUE|FALSE|NULL|NOT NULL|NOT TRUE
a LIKE 'z%'|a CONTAINS 'z'|a NOT CONTAINS 'z'|a STARTSWITH 'He'|a ENDSWITH 'ld'|a NOT STARTSWITH 'He'|a NOT ENDSWITH 'ld'
a CONTAINS ''|a NOT CONTAINS ''|'abc' CONTAINS 'b'|1 CONTAINS '1'|NULL CONTAINS 'x'|a CONTAINS b|a CONTAINS 5
NOT (a='2')|NOT a = '2'|a = '2' OR b = '2'|a = '2' AND b = '2'|a='2' AND (b='2' OR b='3.5') OR a='zz'
a > 'x'|a > TRUE|a > NULL|TRUE > a|a = NULL|NULL = a|a <> NULL|a = TRUE|TRUE = a|TRUE = 1|1 = TRUE|'x' = TRUE|TRUE = TRUE
TRUE = FALSE|1 = 1|1 = 1.0|1 = '1'|'1' = 1|1 > 2|1 < 2|1 < 2L|1L < 2.5|2.5 > 1|'a' = 'a'|'a' = 'b'|'a' < 'b'|1 < 'b'
a = b|a > b|a >= b|a < b|a <= b|a <> b|a = b = TRUE|a > 1 > 2|(a > 1) = TRUE|(a > 1) = (b > 1)|(a > 1) > 2
a = -7|a = - 7|a > -8|a = --7|a = +2|a = + + 2|-a = 7|- a > 0|a > -'x'|-'x' = a|-TRUE = a|-(1) = -1|-(-1) = 1
a BETWEEN 5 AND 0|a BETWEEN 'a' AND 'b'|a BETWEEN NULL AND 5|a BETWEEN 0 AND NULL|a BETWEEN b AND c|a BETWEEN TRUE AND 5
a BETWEEN 0 AND 'x'|a BETWEEN 'x' AND 0|a BETWEEN -5 AND -10|a BETWEEN 1.5 AND 2|a NOT BETWEEN 0 AND 5|a NOT BETWEEN 5 AND 0
a BETWEEN 0 AND 5 AND b = '2'|a BETWEEN 0 AND 5 OR TRUE|1 BETWEEN 0 AND 2|'1' BETWEEN 0 AND 2|(a = 1) BETWEEN 0 AND 2
a BETWEEN 5|a BETWEEN 5 OR 6|a BETWEEN TRUE AND FALSE|a BETWEEN FALSE AND TRUE|a BETWEEN TRUE AND 'x'
a IN ('2')|a IN ()|a IN ('2',)|a IN (2)|a IN '2'|a NOT IN ('2','zz')|a NOT IN|1 IN ('1')|'2' IN ('2')|(a) IN ('2')|a IN ('1','2','3','4','5','6')
a NOT IN ('1','2','3','4','5','6')|a IN ('it''s')|b IN ('it''s')|NOT a IN ('2')|a NOT 5|a NOT b|a NOT
a IS NOT NULL|NOT a IS NULL|a IS NULL IS NULL|a IS NOT NULL IS NOT NULL|1 IS NULL|NULL IS NULL|NULL IS NOT NULL|a IS TRUE|a IS|a IS NOT
a IS NULL OR b IS NULL|(a IS NULL) = TRUE|a IS NULL = FALSE|a = 1 IS NULL|a > 1 IS NULL|a is not null and b is not null
a|b|NOT a|NOT b|a AND b|a OR b|a OR TRUE|TRUE OR a|FALSE AND a|a AND FALSE|TRUE AND a|NULL OR TRUE|NULL AND FALSE|NULL OR NULL
1|'x'|1.5|-1|1 AND TRUE|TRUE AND 1|NOT 1|NOT 'x'|(1)|('x') OR TRUE|-a|-a AND TRUE|+a|+TRUE|+1 = 1|+(a) = 2
||( |)|()|(a|a)|((a = 2))|((((((((((a = 2))))))))))|a = |= a|= |a = = b|a == 2|a != 2|a <> |AND|a AND|OR a|a OR|NOT|IN|BETWEEN|a b c|a 1|1 a
a = 2 b|a = 2 )|a = 2 #|a = 2 b #|#|a # 2|a = '2|a = 2'|'|''|'''|a = ''|a = ''''|b = 'it''s'|b = 'it\\'s'|a="2"|a = "2"|`a` = 2|a.b = 2|a.5
a = 007|a = 00|a = 0|a = 0l|a = 2l|a = 2L|a = 2147483647|a = 2147483648|a = -2147483648|a = 3000000000|a = 3000000000L|a > 2999999999
c = 9223372036854775807|a = 9223372036854775808|c = -9223372036854775808|a = 99999999999999999999|c > 1|c >= 9223372036854775806
a = 2.0|a = 2.|a = .5|a = .|a = 0.0|a > 0.0|a = 1e3|b = 1e3|b = 1E+3|b = 1000.0|b = 1000|a = 1e|a = 1e400|a = 1e-400|a > 1e-300|a = 2.0f|a = 2d
a > 1.5|a >= 2.0|b = 3.5|b > 3|b = 2|b = 2.0|b > 0.5|c > 0.5|a < 0.5|a <= 0.5|a > 1.7976931348623157E308|b = +2|c = 2.0
A = 'upper'|a = 'TRUE'|TagA = 1|TAGS = 'x'|$x_1 = 5|_y = 6|$x_1 > 4 AND _y < 7|1x = 2|x1 = 2|c = '中文'|c CONTAINS '文'|中 = 1|c STARTSWITH '中'
a = 2 -- c|a = 2 -- c\\n AND b = 2|a = 2 --\\nAND b = '2'|a /* x */ = 2|a /* x = 2|a /**/ = /* * / */ 2|a = 2 /* x|/**/ TRUE|a--b\\n= 2|-- only|-- only\\n|-- only\\nTRUE
a=2AND b=2|a=2 ANDb=2|a='2'OR b='2'|a>1AND(b>1)|NOT(a=2)|a IN('2')AND TRUE|a\\t=\\n2|a\\r=\\r2|not true|Not True|nOt FaLsE|null is null|a between 0 and 5
a in ('2')|a contains 'e'|a CoNtAiNs 'e'|a not in ('2')|a startswith 'H'|trUE|aNd|a aNd b oR c|TRUE TRUE|TRUE FALSE|FALSE TRUE
a + 1 = 3|a - 1 = 1|a * 2 = 4|a / 2 = 1|1 + 1 = 2|a % 2 = 0|a || b = '22'|a, b|a;|a = 2;|a = ?|a = :x|a = @x|a & b|a ~ b
a = 2 AND|a = 2 OR|(a = 2|(a = 2 AND|((a = 2)|(a = 2))|a = (2)|a = (b)|(a) = (2)|a > (1)|a > (b)|(a > 1) AND (b > 1)|a IN (('2'))|a > (TRUE)
a = 'x' OR a > 1|a > 1 OR a = 'zz'|a = 'zz' OR a > 1|a = 'zz' AND a > 1|a > 1 AND a = 'zz'|b > 0 OR TRUE|TRUE OR b > 0|b IS NULL OR b > 0|b IS NOT NULL AND b > 0
NOT NOT a = 2|NOT NOT TRUE|NOT NOT NOT TRUE|NOT (NOT (a = 2))|NOT a > 1|NOT (a > 1)|NOT a BETWEEN 0 AND 5|NOT a CONTAINS 'z'|NOT -a|- NOT a
CONTAINS = 1|a = CONTAINS|contains CONTAINS 'x'|IS = 1|IS NULL|a NOT NULL|a NOT BETWEEN 1|a NOT BETWEEN 1 AND|a NOT CONTAINS|a NOT CONTAINS 1|a STARTSWITH|a ENDSWITH b
""".strip("\n")


def by_hand():
    for line in BY_HAND.split("\n"):
        yield from (part.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r").replace("\\'", "\\'")
                    for part in line.split("|"))


def drawn(rng, depth):
    """A random expression: mostly well formed."""
    pick = rng.random()
    if depth == 0 or pick < 0.15:
        return rng.choice(["a", "b", "c", "d", "2", "0", "-7", "3.5", "1e3", "3000000000", "'2'", "'zz'",
                           "'it''s'", "TRUE", "FALSE", "NULL", "'true'"])
    sub = lambda: drawn(rng, depth - 1)
    if pick < 0.40:
        return f"{sub()} {rng.choice(['=', '<>', '>', '>=', '<', '<='])} {sub()}"
    if pick < 0.60:
        return f"{sub()} {rng.choice(['AND', 'OR'])} {sub()}"
    if pick < 0.68:
        return f"({sub()})"
    if pick < 0.74:
        return f"NOT {sub()}"
    if pick < 0.80:
        return f"{sub()} IS {rng.choice(['', 'NOT '])}NULL"
    if pick < 0.86:
        return f"{sub()} {rng.choice(['', 'NOT '])}BETWEEN {sub()} AND {sub()}"
    if pick < 0.92:
        return f"{sub()} {rng.choice(['', 'NOT '])}IN ('2', 'zz', 'true')"
    if pick < 0.97:
        return f"{sub()} {rng.choice(['', 'NOT '])}{rng.choice(['CONTAINS', 'STARTSWITH', 'ENDSWITH'])} '2'"
    return f"- {sub()}"


def escape(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--java-build", type=pathlib.Path, required=True)
    options = parser.parse_args()
    rng = random.Random(20)
    expressions = list(by_hand())
    expressions += [drawn(rng, rng.choice([1, 2, 2, 3, 4])) for _ in range(2500)]
    lines = ["\t".join(["message"] + [f"{name}={escape(value)}" for name, value in message.items()])
             for message in MESSAGES]
    lines += [f"expression\t{escape(text)}" for text in dict.fromkeys(expressions)]
    class_path = (options.java_build / "official-5.5.0" / "classpath.txt").read_text().strip()
    done = subprocess.run(["java", "-cp", class_path, str(HERE / "Answers.java")], check=True,
                          input="\n".join(lines).encode(), stdout=subprocess.PIPE)
    (HERE / "sql92.tsv").write_bytes(done.stdout)
    print(done.stdout.count(b"\nexpression\t"), "expressions")


if __name__ == "__main__":
    main()
