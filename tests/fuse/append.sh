#!/bin/bash
# O_APPEND: every record whole, none over another, in its writer's order, however the kernel cuts it and wherever it
# believes the end of the file to be.
# shellcheck source=tests/lib/common.sh
. "${top_srcdir:-.}/tests/lib/common.sh"

need_inodax
need python3
need_fuse

cat > "$dir/append.py" << 'END'
import errno, mmap, os, sys, time

MIB = 1 << 20
APPEND = 0x10
NOAPPEND = 0x20		# RWF_NOAPPEND, Linux 6.9

def whole(fd, data, flags=None):
    n = os.write(fd, data) if flags is None else os.pwritev(fd, [data], 0, flags)
    assert n == len(data), (n, len(data))

def content(name):
    with open(name, "rb") as f:
        return f.read()

# Records of several writers: writer, number, length, and a pattern of both.
def record(writer, number, length):
    head = b"<%d %d %d>" % (writer, number, length)
    return head + bytes([65 + (writer * 7 + number) % 26]) * (length - len(head) - 1) + b"\n"

def length_of(writer, number, most):
    return 32 + (writer * 7919 + number * 104729) % most

def write_records(name, writer, count, most):
    # Those of odd writers say with each write that it is an append: RWF_APPEND.
    fd = os.open(name, os.O_WRONLY | (0 if writer % 2 else os.O_APPEND))
    for number in range(count):
        whole(fd, record(writer, number, length_of(writer, number, most)), APPEND if writer % 2 else None)
    os.close(fd)

def check_records(name, writers, count, most):
    data, at, last = content(name), 0, [-1] * writers
    while at < len(data):
        writer, number, length = map(int, data[at + 1:data.index(b">", at)].split())
        assert data[at:at + length] == record(writer, number, length), ("torn", writer, number)
        assert number == last[writer] + 1, ("order", writer, number, last[writer])
        last[writer] = number
        at += length
    assert last == [count - 1] * writers, last

def records(name, writers, count, most):
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    pids = []
    for writer in range(writers):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                write_records(name, writer, count, most)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    check_records(name, writers, count, most)
    print("records:", writers * count, "of up to", most, "bytes")

# One append of more than one request, which the kernel may send at once.
def large(name, rounds):
    length = 8 * MIB
    m = mmap.mmap(-1, length)
    for i in range(length // 4096):
        m[i * 4096:(i + 1) * 4096] = i.to_bytes(4, "little") * 1024
    for flags in (0, os.O_DIRECT):
        for r in range(rounds):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | flags)
            whole(fd, m)
            whole(fd, m)
            os.close(fd)
            data = content(name)
            assert len(data) == 2 * length, len(data)
            for half in (data[:length], data[length:]):
                if half != m[:]:
                    sys.exit("pages in the order of %s..." %
                             [int.from_bytes(half[i:i + 4], "little") for i in range(0, length, MIB)])
    print("large appends:", 4 * rounds)

# The kernel tells of an O_APPEND descriptor's RWF_NOAPPEND no more than that it is O_APPEND: the data is at the end,
# where the kernel does not expect it, and from then on its idea of the end is too small.
def stale(name):
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    other = os.open(name, os.O_WRONLY | os.O_APPEND)
    whole(fd, b"0123456789" * 1000)
    assert os.pread(fd, 10, 0) == b"0123456789"	# what is cached is cached now
    try:
        whole(fd, b"XXXX", NOAPPEND)
    except OSError as e:
        if e.errno == errno.EOPNOTSUPP:
            print("RWF_NOAPPEND is not there")
            return
        raise
    whole(other, b"YYYYY")
    wanted = b"0123456789" * 1000 + b"XXXXYYYYY"
    # The position is where the kernel believes that it wrote; the size is asked for.
    position = os.lseek(other, 0, os.SEEK_CUR)
    assert position == 10005, position
    assert os.stat(name).st_size == 10009, os.stat(name)
    # Pages are forgotten after the answer, and while they are, the kernel does not believe what it is told of the size.
    for i in range(600):
        if content(name) == wanted and os.lseek(other, 0, os.SEEK_END) == 10009:
            break
        time.sleep(0.1)
    assert content(name) == wanted, content(name)[:20] + content(name)[-20:]
    assert os.lseek(other, 0, os.SEEK_END) == 10009
    whole(other, b"Z")
    assert content(name) == wanted + b"Z"
    print("a stale end")

def refused(what, fn, wanted):
    try:
        fn()
    except OSError as e:
        assert e.errno == wanted, (what, e)
    else:
        raise AssertionError(what)

# Who does not write at the end, or may not.
def others(name):
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    whole(fd, b"a" * 10000)
    source = os.open(name + ".source", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    whole(source, b"s" * 1000)
    r, w = os.pipe()
    os.write(w, b"p")
    refused("copy_file_range", lambda: os.copy_file_range(source, fd, 10, 0), errno.EBADF)
    refused("splice", lambda: os.splice(r, fd, 1), errno.EINVAL)
    # Stores into a mapping are pages, wherever the end is.
    with mmap.mmap(fd, 10000) as m:
        m[100:103] = b"MMM"
        whole(fd, b"b")
        m.flush()
    data = content(name)
    assert len(data) == 10001 and data[100:103] == b"MMM" and data[10000:] == b"b", (len(data), data[95:105])
    print("splice, copies, mappings")

{"records": lambda a: records(a[0], int(a[1]), int(a[2]), int(a[3])), "large": lambda a: large(a[0], int(a[1])),
 "stale": lambda a: stale(a[0]), "others": lambda a: others(a[0])}[sys.argv[1]](sys.argv[2:])
END

append() {
	timeout 600 python3 "$dir/append.py" "$@" > "$dir/out" 2> "$dir/err" ||
		fail "append.py $*: $(tail -n 1 "$dir/err")"
	cat "$dir/out"
}

make_pool 256
for dax in always never; do
	step "dax=$dax"
	mount_pool dax=$dax
	append records "$mnt/small" 6 "$(scale 100 500 5000)" 300
	append records "$mnt/middle" 4 "$(scale 20 60 600)" 20000
	append records "$mnt/large" 3 "$(scale 3 6 20)" 3000000
	append large "$mnt/pieces" "$(scale 3 10 50)"
	append stale "$mnt/stale"
	append others "$mnt/others"
	unmount_pool
done
check_pool
