"""A DNS server of a few names, over UDP and TCP, that fails when it is told to."""

import ipaddress
import socket
import socketserver
import struct
import threading

A, AAAA, SRV = 1, 28, 33
NO_ERROR, SERVER_FAILED, NO_SUCH_NAME = 0, 2, 3


def packed_name(name):
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def both_on_one_port(over_udp, over_tcp):
    while True:
        udp = socketserver.ThreadingUDPServer(("127.0.0.1", 0), over_udp)
        try:
            return udp, socketserver.ThreadingTCPServer(udp.server_address, over_tcp)
        except OSError:  # the port is somebody's there
            udp.server_close()


class DnsServer:
    """`records[name][type]` is a list of addresses, or of (priority, weight, port, target) for SRV."""

    def __init__(self, records, ttl_s=0):
        self.records, self.ttl_s = records, ttl_s
        self.failure = NO_ERROR  # what everybody gets instead of an answer
        self.silent = False
        self.truncates = False  # over UDP: ask by TCP
        self.glue = False  # services come with their addresses
        self.garbage = False
        self.questions = []
        outer = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                if (answer := outer.answer(data, True)) is not None:
                    sock.sendto(answer, self.client_address)

        class Tcp(socketserver.BaseRequestHandler):
            def handle(self):
                (size,) = struct.unpack("!H", self.request.recv(2, socket.MSG_WAITALL))
                answer = outer.answer(self.request.recv(size, socket.MSG_WAITALL), False)
                if answer is not None:
                    self.request.sendall(struct.pack("!H", len(answer)) + answer)

        self.udp, self.tcp = both_on_one_port(Udp, Tcp)
        self.address = "127.0.0.1:%d" % self.udp.server_address[1]
        for each in (self.udp, self.tcp):
            each.daemon_threads = True
            threading.Thread(target=each.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in (self.udp, self.tcp):
            each.shutdown()
            each.server_close()

    def answer(self, question, over_udp):
        if self.silent:
            return None
        if self.garbage:
            return question[:2] + b"\x84\x00" + b"\xff" * 40
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        (kind,) = struct.unpack("!H", question[at + 1 : at + 3])
        name = ".".join(labels).lower()
        self.questions.append((name, kind))
        head, asked = question[:2], question[12 : at + 5]
        if self.failure:
            return head + struct.pack("!HHHHH", 0x8400 | self.failure, 1, 0, 0, 0) + asked
        if over_udp and self.truncates:
            return head + struct.pack("!HHHHH", 0x8600, 1, 0, 0, 0) + asked
        known = self.records.get(name)
        if known is None:
            return head + struct.pack("!HHHHH", 0x8400 | NO_SUCH_NAME, 1, 0, 0, 0) + asked
        answers = [self.record(name, kind, value) for value in known.get(kind, [])]
        more = []
        if kind == SRV and self.glue:
            for *_, target in known.get(kind, []):
                more += [self.record(target, A, value) for value in self.records.get(target, {}).get(A, [])]
        counts = struct.pack("!HHHHH", 0x8400, 1, len(answers), 0, len(more))
        return head + counts + asked + b"".join(answers + more)

    def record(self, name, kind, value):
        if kind == SRV:
            priority, weight, port, target = value
            content = struct.pack("!HHH", priority, weight, port) + packed_name(target)
        else:
            content = ipaddress.ip_address(value).packed
        return packed_name(name) + struct.pack("!HHIH", kind, 1, self.ttl_s, len(content)) + content
