"""A client of the native protocol in nothing but the standard library, written from the tables of ARCHITECTURE.md.

It says hello, creates a topic, produces a batch it built byte by byte, fetches it back, subscribes, and takes a push. It
fails with a message when anything is not as the tables say. Usage: native_client.py HOST PORT
"""

import socket
import struct
import sys

HELLO, WELCOME, CREATE, CREATED, PRODUCE, PRODUCED = 1, 2, 5, 6, 11, 12
FETCH, FETCHED, SUBSCRIBE, SUBSCRIBED, PUSH = 13, 14, 15, 16, 17
NULL = 0xFFFFFFFF

CRC_TABLE = []
for index in range(256):
    value = index
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    CRC_TABLE.append(value)


def crc32c(data):
    value = NULL
    for byte in data:
        value = CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ NULL


def padded(data, multiple):
    return data + bytes(-len(data) % multiple)


def frame(kind, correlation, control=b"", batches=b"", flags=0):
    control = padded(control, 16)
    length = 32 + len(control) + len(batches)
    tail = struct.pack("<BBHIQH6x", kind, 1, flags, len(control), correlation, 0)
    crc = crc32c(tail + control) ^ length
    return struct.pack("<II", length, crc) + tail + control + batches


class Connection:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=20)

    def send(self, *parts, **named):
        self.socket.sendall(frame(*parts, **named))

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the broker closed"
            data += more
        return data

    def receive(self, kind, correlation):
        head = self.exactly(32)
        length, crc, found, version, flags, control_len, answered, error = struct.unpack("<IIBBHIQH6x", head)
        body = self.exactly(length - 32)
        assert crc == crc32c(head[8:] + body[:control_len]) ^ length, "frame checksum"
        assert (version, found, answered, error) == (1, kind, correlation, 0), (found, answered, error, body)
        return body[:control_len], body[control_len:]


def native_payload(base_timestamp, records):
    """records: (key or None, value or None, ms after the base)."""
    count, blob, ends, key_lens, nulls = len(records), b"", [], [], [0] * ((len(records) + 31) // 32)
    for index, (key, value, _) in enumerate(records):
        blob += (key or b"") + (value or b"")
        ends.append(len(blob))
        key_lens.append(NULL if key is None else len(key))
        if value is None:
            nulls[index // 32] |= 1 << index % 32
    tables = [ends, [time for _, _, time in records], [], key_lens, [], nulls]
    body, places = b"", []
    for table in tables:
        places.append((len(body), len(table)))
        body += struct.pack(f"<{len(table)}I", *table)
    places.append((len(body), len(blob)))
    body = padded(body + blob, 8)
    root = struct.pack("<q", base_timestamp)
    for place, elements in places:
        root += struct.pack("<iI", place - (len(body) + len(root)), elements)
    assert len(root) == 64 and count
    return body + root


def batch(topic, partition, base_timestamp, records):
    payload = native_payload(base_timestamp, records)
    times = [base_timestamp + time for _, _, time in records]
    tail = struct.pack("<II", len(payload), crc32c(payload))
    tail += struct.pack("<BBHI", 1, 1, 0, len(records)) + topic
    tail += struct.pack("<IIQQqqq", partition, 0, 0, 0, times[0], max(times), 0)
    tail += struct.pack("<qih26x", -1, -1, -1)
    header = b"CLG1" + struct.pack("<I", crc32c(tail)) + tail
    assert len(header) == 128
    return padded(header + payload, 16)


def table(payload, field, element="I"):
    at = len(payload) - 64 + field
    distance, count = struct.unpack_from("<iI", payload, at)
    return struct.unpack_from(f"<{count}{element}", payload, at + distance)


def read_batches(data):
    """Yields (offset, key, value, timestamp) of every record, all checksums verified."""
    while data:
        assert data[:4] == b"CLG1", "magic"
        header_crc, payload_len, payload_crc = struct.unpack_from("<III", data, 4)
        assert header_crc == crc32c(data[8:128]), "header checksum"
        payload = data[128 : 128 + payload_len]
        assert payload_crc == crc32c(payload), "payload checksum"
        assert data[17] == 1, "a native batch"
        base_offset = struct.unpack_from("<Q", data, 48)[0]
        base = struct.unpack_from("<q", payload, len(payload) - 64)[0]
        ends, low, key_lens = table(payload, 8), table(payload, 16), table(payload, 32)
        nulls, blob = table(payload, 48), bytes(table(payload, 56, "B"))
        start = 0
        for index, end in enumerate(ends):
            key_len = key_lens[index] if key_lens else NULL
            key = None if key_len == NULL else blob[start : start + key_len]
            value = blob[start + len(key or b"") : end]
            if nulls and nulls[index // 32] >> index % 32 & 1:
                value = None
            yield base_offset + index, key, value, base + (low[index] if low else 0)
            start = end
        data = data[128 + payload_len + -payload_len % 16 :]


def main(host, port):
    name, client = b"python client", Connection(host, port)
    client.send(HELLO, 1, struct.pack("<QIBB2x", 0, len(name), 1, 1) + name)
    control, _ = client.receive(WELCOME, 1)
    assert control[44] == 1, "version 1"
    topic_name = b"written-in-python"
    client.send(CREATE, 2, struct.pack("<IIH2x", 3, 0, len(topic_name)) + topic_name)
    control, _ = client.receive(CREATED, 2)
    topic = control[:16]
    assert struct.unpack_from("<I", control, 16)[0] == 3, "three partitions"

    records = [(b"key", b"value", 0), (None, b"no key", 5), (b"tombstone", None, 3)]
    expected = [(offset, key, value, 1000 + time) for offset, (key, value, time) in enumerate(records)]
    batches = b"".join(batch(topic, partition, 1000, records) for partition in range(3))
    client.send(PRODUCE, 3, struct.pack("<I12x", 3), batches)
    control, _ = client.receive(PRODUCED, 3)
    assert struct.unpack_from("<I", control)[0] == 3
    for partition in range(3):
        base_offset, _, error = struct.unpack_from("<QQH6x", control, 8 + 24 * partition)
        assert (base_offset, error) == (0, 0), (base_offset, error)

    entries = b"".join(topic + struct.pack("<IIQ", partition, 1 << 20, 0) for partition in range(3))
    client.send(FETCH, 4, struct.pack("<IIII", 3, 1 << 20, 0, 0) + entries)
    control, data = client.receive(FETCHED, 4)
    for partition in range(3):
        entry = control[8 + 48 * partition :]
        found, length, _, high_watermark, _, error = struct.unpack_from("<IIQQIH", entry, 16)
        assert (entry[:16], found, high_watermark, error) == (topic, partition, 3, 0), entry
        assert list(read_batches(data[:length])) == expected, "records"
        data = data[length:]
    assert not data

    entry = topic + struct.pack("<IIQ", 1, 2, 0)
    client.send(SUBSCRIBE, 99, struct.pack("<QII", 1 << 20, 1, 0) + entry)
    control, _ = client.receive(SUBSCRIBED, 99)
    assert struct.unpack_from("<Q", control, 8)[0] == 3, "latest"
    producer = Connection(host, port)
    producer.send(HELLO, 1, struct.pack("<QIBB2x", 0, 0, 1, 1))
    producer.receive(WELCOME, 1)
    producer.send(PRODUCE, 2, struct.pack("<I12x", 1), batch(topic, 1, 1000, records))
    producer.receive(PRODUCED, 2)
    _, data = client.receive(PUSH, 99)
    assert [record[0] for record in read_batches(data)] == [3, 4, 5], "pushed"
    print("everything is as the tables say")


main(sys.argv[1], int(sys.argv[2]))
