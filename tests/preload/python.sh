#!/bin/bash
# Python's mmap and numpy.memmap, as programs use them: what is stored by shared maps is in the file, what is stored by
# private ones is not, and the shared ones are direct.
# shellcheck source=tests/lib/maps.sh
. "${top_srcdir:-.}/tests/lib/maps.sh"

need_preload
# The system's, where another that comes first has no numpy.
for python in python3 /usr/bin/python3; do
	! "$python" -c 'import numpy' 2> "$dir/need" || break
done
"$python" -c 'import numpy' 2> "$dir/need" || skip "python3-numpy is not installed"
size=$(scale 4 32 1024)
make_pool $((size * 4 + 64))
mount_pool

# under NAME: the program on standard input under inodax-run, with a file $mnt/NAME; its maps are direct.
under() {
	: > "$dir/explained"
	"$run" --explain="$dir/explained" "$python" - "$mnt/$1" "$size" > "$dir/out" 2> "$dir/err" ||
		fail "$1: $(cat "$dir/err")"
	some_direct "$dir/explained"
	nothing_held "$1"
}

# plain NAME: without it.
plain() {
	"$python" - "$mnt/$1" "$size" > "$dir/out" 2> "$dir/err" || fail "$1, plain: $(cat "$dir/err")"
}

step "mmap: stores, slices, find, move, flush"
under mmap << 'END'
import mmap, os, sys
size = int(sys.argv[2]) << 20
with open(sys.argv[1], "w+b") as f:
    f.truncate(size)
    with mmap.mmap(f.fileno(), 0) as m:
        for at in range(0, size, 65536):
            m[at:at + 8] = at.to_bytes(8, "little")
        m.flush()
        m.move(size // 2 + 100, 0, 50000)
        assert m[size // 2 + 100:size // 2 + 108] == bytes(8)
        assert m.find(b"needle") == -1
        m[size - 6:] = b"needle"
        assert m.find(b"needle") == m.rfind(b"needle") == size - 6
        m.seek(size - 6)
        assert m.read(10) == b"needle"
        m.madvise(mmap.MADV_SEQUENTIAL)
        assert os.pread(f.fileno(), 6, size - 6) == b"needle"
        os.pwrite(f.fileno(), b"noodle", size - 6)
        assert m[-6:] == b"noodle"
END
plain mmap << 'END'
import sys
size = int(sys.argv[2]) << 20
data = open(sys.argv[1], "rb").read()
want = bytearray(size)
for at in range(0, size, 65536):
    want[at:at + 8] = at.to_bytes(8, "little")
want[size // 2 + 100:size // 2 + 50100] = want[:50000]
want[size - 6:] = b"noodle"
assert data == want
END

step "mmap: a resized map, and one of a part that only loads"
under resize << 'END'
import mmap, os, sys
with open(sys.argv[1], "w+b") as f:
    f.write(b"a" * 100000)
    f.flush()
    m = mmap.mmap(f.fileno(), 0)
    m.resize(1000000)
    assert len(m) == 1000000 and os.fstat(f.fileno()).st_size == 1000000
    assert m[99999:100001] == b"a\0"
    m[999999] = 7
    m.resize(50000)
    assert os.fstat(f.fileno()).st_size == 50000 and m[:] == b"a" * 50000
    m.resize(200000)
    m[199999:] = b"z"
    m.close()
    r = mmap.mmap(f.fileno(), 8192, access=mmap.ACCESS_READ, offset=mmap.ALLOCATIONGRANULARITY)
    assert r[:] == b"a" * 8192
    try:
        r[0] = 1
    except TypeError:
        pass
    else:
        raise SystemExit("a store to a map for loads")
    r.close()
END
plain resize << 'END'
import sys
assert open(sys.argv[1], "rb").read() == b"a" * 50000 + bytes(149999) + b"z"
END

step "mmap: children that store, and the parent that finds it"
under fork << 'END'
import mmap, os, sys
with open(sys.argv[1], "w+b") as f:
    f.truncate(1 << 20)
    m = mmap.mmap(f.fileno(), 0)
m[0:4] = b"root"
children = []
for n in range(1, 9):
    pid = os.fork()
    if not pid:
        m[n * 4096:n * 4096 + 4] = b"%4d" % n
        os._exit(0 if m[:4] == b"root" else 1)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
for n in range(1, 9):
    assert m[n * 4096:n * 4096 + 4] == b"%4d" % n
END

step "mmap: a private map"
"$run" "$python" - "$mnt/copy" << 'END' || fail "a private map"
import mmap, os, sys
with open(sys.argv[1], "w+b") as f:
    f.write(b"x" * 100000)
    f.flush()
    with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as m:
        m[5000:5005] = b"mine!"
        assert m[4999:5006] == b"xmine!x"
        assert os.pread(f.fileno(), 100000, 0) == b"x" * 100000
END
same "the file behind a private map" "$(tr -d x < "$mnt/copy" | wc -c)" 0

step "numpy.memmap: w+, r+, r"
under array << 'END'
import numpy, sys
rows = int(sys.argv[2]) << 7
a = numpy.memmap(sys.argv[1], dtype="float64", mode="w+", shape=(rows, 1024))
a[:] = numpy.arange(rows)[:, None] + numpy.arange(1024)[None, :] / 1024
a.flush()
del a
a = numpy.memmap(sys.argv[1], dtype="float64", mode="r+", shape=(rows, 1024))
a[1::2] *= 2
a[:, ::-1].sort(axis=1)
del a
a = numpy.memmap(sys.argv[1], dtype="float64", mode="r", shape=(rows, 1024))
assert not a.flags.writeable
want = numpy.arange(rows)[:, None] + numpy.arange(1024)[None, ::-1] / 1024
want[1::2] *= 2
assert (a == want).all()
part = numpy.memmap(sys.argv[1], dtype="float64", mode="r", offset=8192 * 3 + 8, shape=(1024,))
assert (part[:1023] == want[3, 1:]).all()
END
plain array << 'END'
import numpy, sys
rows = int(sys.argv[2]) << 7
want = numpy.arange(rows)[:, None] + numpy.arange(1024)[None, ::-1] / 1024
want[1::2] *= 2
assert (numpy.fromfile(sys.argv[1]).reshape(rows, 1024) == want).all()
END

step "numpy.memmap: c, and arrays of numpy.save"
"$run" "$python" - "$mnt" << 'END' || fail "numpy.memmap, mode c"
import numpy, sys
numpy.save(sys.argv[1] + "/saved.npy", numpy.arange(100000))
a = numpy.load(sys.argv[1] + "/saved.npy", mmap_mode="c")
a[::7] = -1
assert (a[::7] == -1).all() and a[1] == 1
b = numpy.load(sys.argv[1] + "/saved.npy", mmap_mode="r")
assert (b == numpy.arange(100000)).all()
w = numpy.lib.format.open_memmap(sys.argv[1] + "/made.npy", mode="w+", dtype="i4", shape=(1000, 100))
w[:] = 3
w.flush()
END
plain . << 'END'
import numpy, sys
assert (numpy.load(sys.argv[1] + "/saved.npy") == numpy.arange(100000)).all()
assert (numpy.load(sys.argv[1] + "/made.npy") == 3).all()
END
nothing_held "numpy"
finish
