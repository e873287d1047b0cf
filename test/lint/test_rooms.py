"""rooms: complains of each thing that it is there for, in a small house that is in order but for that one thing."""
import pathlib
import subprocess

import pytest

ROOMS = pathlib.Path(__file__).with_name("rooms")

PLAN = """
room(base lib/base
  PUBLIC text)
room(redis lib/redis
  PUBLIC client
  LINKS base)
room(policy policy
  PUBLIC judge
  LINKS base)
room(milter milter
  PUBLIC session
  LINKS redis policy)
"""
FILES = {
    "lib/base/text.h": "/* text: helpers. */\nint text_add(int a);\n",
    "lib/base/text.c": '/* text: see text.h. */\n#include "base/text.h"\nint text_add(int a) { return a; }\n',
    "lib/redis/wire.h": "/* wire: private. */\nint redis_wire_read(void);\n",
    "lib/redis/wire.c": '/* wire: see wire.h. */\n#include "wire.h"\nint redis_wire_read(void) { return 1; }\n',
    "lib/redis/client.h": "/* client: public. */\nint client_call(void);\n",
    "lib/redis/client.c": '/* client: see client.h. */\n#include "redis/client.h"\n#include "wire.h"\n'
    "int client_call(void) { return redis_wire_read(); }\n",
    "policy/judge.h": "/* judge: public. */\nint judge(void);\n",
    "policy/judge.c": '/* judge: see judge.h. */\n#include "policy/judge.h"\n#include "base/text.h"\n'
    "int judge(void) { return text_add(1); }\n",
    "milter/session.h": "/* session: public. */\nint session_open(void);\n",
    "milter/session.c": '/* session: see session.h. The debt is in a comment, which is no name. */\n#include "milter/session.h"\n'
    '#include "policy/judge.h"\n#include "redis/client.h"\nint session_open(void) { return judge() + client_call(); }\n',
    "test/lint/words": "# heading\ndebt   delta\nstand_in fallback\n",
}


@pytest.fixture
def house(tmp_path):
    def build(plan=PLAN, changes=()):
        (tmp_path / "CMakeLists.txt").write_text(plan)
        files = {**FILES, **dict(changes)}
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        for name in files:
            if name.endswith(".c") and not name.startswith("test/"):
                out = tmp_path / "build/CMakeFiles/all.dir" / f"{name}.o"
                out.parent.mkdir(parents=True, exist_ok=True)
                paths = [f"-iquote{d}" for d in (tmp_path / "lib", tmp_path)]
                subprocess.run(["cc", "-c", *paths, "-o", out, tmp_path / name], check=True)
        done = subprocess.run([ROOMS, tmp_path, tmp_path / "build"], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return build


def test_a_house_in_order(house):
    assert house() == (0, "4 rooms, 10 files: all as planned\n")


@pytest.mark.parametrize(
    "name, text, complaint",
    [
        ("policy/judge.c", FILES["policy/judge.c"] + '#include "milter/session.h"\n', "the room milter is not below policy"),
        ("policy/judge.c", FILES["policy/judge.c"] + '#include "redis/client.h"\n', "the room redis is not below policy"),
        ("milter/session.c", FILES["milter/session.c"] + '#include "redis/wire.h"\n', "is private to the room redis"),
        ("policy/judge.c", FILES["policy/judge.c"] + "#include <time.h>\n", "the decision is pure"),
        ("lib/redis/wire.c", '/* wire: a circle. */\n#include "wire.h"\n#include "redis/client.h"\n'
         "int redis_wire_read(void) { return 1; }\n", "circle of files: lib/redis/client lib/redis/wire"),
        ("lib/redis/wire.c", '/* wire: a hidden circle. */\n#include "wire.h"\nint client_call(void);\n'
         "int redis_wire_read(void) { return client_call(); }\n", "circle of files: lib/redis/client lib/redis/wire"),
        ("lib/base/text.c", FILES["lib/base/text.c"] + "int lower(void) { return 1; }\n", "exports lower"),
        ("lib/base/text.c", FILES["lib/base/text.c"][len("/* text: see text.h. */"):], "does not open with"),
        ("lib/base/text.h", FILES["lib/base/text.h"] + "int text_debt_of(void);\n", 'text_debt_of: for "debt" say delta'),
        ("lib/base/text.h", FILES["lib/base/text.h"] + "int text_stand_in(void);\n", 'for "stand_in" say fallback'),
        ("lib/base/debt.h", "/* debt: a word. */\n", 'named "debt"'),
        ("test/unit/base/test_debt.c", "/* A test. */\n", 'named "debt"'),
    ],
)
def test_what_is_out_of_order(house, name, text, complaint):
    status, printed = house(changes={name: text})
    assert status == 1 and complaint in printed, printed


def test_a_plan_with_a_circle(house):
    status, printed = house(PLAN.replace("  PUBLIC text)", "  PUBLIC text\n  LINKS redis)"))
    assert status == 1 and "room base links redis, which does not stand before it" in printed, printed
