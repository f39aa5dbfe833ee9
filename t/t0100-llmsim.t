#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The simulated provider itself: what it answers, how it fails on order, and what it counts."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

LLMSIM = os.environ.get("HEADGATE_BUILD", "build") + "/llmsim"
PATIENCE_S = 20  # only ever waited out by a failing test
tests = []


def test(fn):
    tests.append(fn)
    return fn


class Sim:
    def __init__(self, *args):
        self.process = subprocess.Popen([LLMSIM, *map(str, args)], stdout=subprocess.PIPE, text=True)
        self.ready = self.process.stdout.readline()
        match = re.fullmatch(r"llmsim: ready on http://127\.0\.0\.1:(\d+)/v1\n", self.ready)
        assert match, f"ready line: {self.ready!r}"
        self.port = int(match[1])

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        rest = self.process.stdout.read()
        self.process.stdout.close()
        assert self.process.wait(PATIENCE_S) == 0, f"exit status {self.process.returncode}"
        assert rest == "", f"more than one line on stdout: {rest!r}"

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def call(self, method, path, body=None, headers=None):
        conn = self.connect()
        try:
            conn.request(method, path, body, headers or {})
            response = conn.getresponse()
            return response, response.read()
        finally:
            conn.close()

    def chat(self, text="hello", headers=None, **more):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
        return self.call("POST", "/v1/chat/completions", json.dumps(body), headers)

    def stats(self):
        return json.loads(self.call("GET", "/sim/stats")[1])

    def stats_until(self, **wanted):
        end = time.monotonic() + PATIENCE_S
        while True:
            stats = self.stats()
            if all(stats[k] == v for k, v in wanted.items()):
                return stats
            assert time.monotonic() < end, f"{wanted} never seen, last {stats}"
            time.sleep(0.01)

    def raw(self, text="hello", stream=True, **more):
        """A socket on which this request has been sent."""
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream, **more}
        body = json.dumps(body).encode()
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                     % len(body) + body)
        return sock


@contextlib.contextmanager
def running(*args):
    sim = Sim(*args)
    try:
        yield sim
        sim.stop()
    finally:
        if sim.process.poll() is None:
            sim.process.kill()
            sim.process.wait()


def read_all(sock):
    """All bytes, and how it ended: "fin" or "rst"."""
    data = b""
    while True:
        try:
            got = sock.recv(65536)
        except ConnectionResetError:
            return data, "rst"
        if not got:
            return data, "fin"
        data += got


def read_until(sock, wanted):
    data = b""
    while wanted not in data:
        got = sock.recv(65536)
        assert got, f"ended without {wanted!r}: {data[-200:]!r}"
        data += got
    return data


def events_of(body):
    return [e[len(b"data: "):] for e in body.split(b"\n\n") if e.startswith(b"data: ")]


def text_of(body):
    chunks = [json.loads(e) for e in events_of(body) if e != b"[DONE]"]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


def tokens(n):
    return "".join(f"t{i} " for i in range(n))


def same(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


FAST = ("--rate", 0, "--text", "tokens")


@test
def a_json_answer():
    with running(*FAST) as sim:
        response, body = sim.chat()
        same((response.status, response.getheader("content-type")), (200, "application/json"))
        assert response.getheader("x-request-id")
        answer = json.loads(body)
        same(answer["object"], "chat.completion")
        same(answer["model"], "m")
        same(answer["choices"][0]["message"]["content"], tokens(20))
        same(answer["choices"][0]["finish_reason"], "stop")
        same(answer["usage"]["completion_tokens"], 20)


@test
def a_streamed_answer_has_the_schema_of_openai():
    with running(*FAST, "--tokens", 5) as sim:
        response, body = sim.chat(stream=True, stream_options={"include_usage": True})
        same(response.getheader("content-type"), "text/event-stream")
        same(response.getheader("transfer-encoding"), "chunked")
        events = events_of(body)
        same(events[-1], b"[DONE]")
        chunks = [json.loads(e) for e in events[:-1]]
        same(len(chunks), 1 + 5 + 1 + 1)
        same({c["object"] for c in chunks}, {"chat.completion.chunk"})
        same(len({c["id"] for c in chunks}), 1)
        same(chunks[0]["choices"][0]["delta"]["role"], "assistant")
        same([c["choices"][0]["delta"]["content"] for c in chunks[1:6]], [f"t{i} " for i in range(5)])
        same([c["choices"][0]["finish_reason"] for c in chunks[:7]], [None] * 6 + ["stop"])
        same([c["usage"] for c in chunks[:7]], [None] * 7)
        same((chunks[7]["choices"], chunks[7]["usage"]["completion_tokens"]), ([], 5))
        assert b"usage" not in sim.chat(stream=True)[1]


@test
def texts():
    with running("--rate", 0) as sim:
        prose = json.loads(sim.chat()[1])["choices"][0]["message"]["content"]
        same(len(prose.split()), 20)
        assert prose.endswith("."), prose
        said = 'to "be" or\nnot \\ to bé ☃'
        same(text_of(sim.chat(said + "[[sim:text=echo]]", stream=True)[1]), said)
        same(text_of(sim.chat("[[sim:text=tokens,tokens=3]]", stream=True)[1]), tokens(3))
        cut = json.loads(sim.chat(max_tokens=7)[1])
        same(cut["choices"][0]["finish_reason"], "length")
        same(cut["usage"]["completion_tokens"], 7)
    with running("--rate", 0, "--seed", 5) as one, running("--rate", 0, "--seed", 5) as two:
        same(text_of(one.chat(stream=True)[1]), text_of(two.chat(stream=True)[1]))


@test
def tools():
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}
    with running(*FAST) as sim:
        call = json.loads(sim.chat("weather?", tools=[tool])[1])["choices"][0]
        same(call["finish_reason"], "tool_calls")
        same(call["message"]["content"], None)
        same(call["message"]["tool_calls"][0]["function"]["name"], "get_weather")
        wanted = {"city": "Paris", "days": 1}
        same(json.loads(call["message"]["tool_calls"][0]["function"]["arguments"]), wanted)

        events = events_of(sim.chat("x", tools=[tool], tool_choice="required", stream=True)[1])
        choices = [json.loads(e)["choices"][0] for e in events[:-1]]
        first = choices[0]["delta"]["tool_calls"][0]
        same((first["index"], first["function"]["name"]), (0, "get_weather"))
        assert first["id"]
        rest = [c["delta"]["tool_calls"][0] for c in choices[1:-1]]
        assert len(rest) > 1 and all("id" not in c for c in rest)
        same(json.loads("".join(c["function"]["arguments"] for c in rest)), wanted)
        same(choices[-1]["finish_reason"], "tool_calls")
        same(text_of(sim.chat("no such word", tools=[tool], stream=True)[1]), tokens(20))


@test
def the_other_endpoints():
    with running(*FAST) as sim:
        same(json.loads(sim.call("GET", "/v1/models")[1])["object"], "list")
        body = json.dumps({"model": "m", "prompt": "p", "stream": True})
        events = events_of(sim.call("POST", "/v1/completions", body)[1])
        same("".join(json.loads(e)["choices"][0]["text"] for e in events[:-1]), tokens(20))
        body = json.dumps({"model": "m", "input": ["a", "b"]})
        answer = json.loads(sim.call("POST", "/v1/embeddings", body)[1])
        assert all(isinstance(x, float) for x in answer["data"][0]["embedding"])
        body = json.dumps({"model": "m", "input": [{"role": "user", "content": "x"}], "max_output_tokens": 3})
        answer = json.loads(sim.call("POST", "/v1/responses", body)[1])
        same((answer["status"], answer["output"][0]["content"][0]["text"]), ("incomplete", tokens(3)))
        body = json.dumps({"model": "m", "input": "[[sim:tokens=2]]", "stream": True})
        lines = sim.call("POST", "/v1/responses", body)[1].split(b"\n")
        events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
        same([event["sequence_number"] for event in events], list(range(9)))
        same(events[-1]["type"], "response.completed")
        same(events[-1]["response"]["usage"]["output_tokens"], 2)
        same(sim.call("GET", "/v1/nothing")[0].status, 404)
        same(sim.call("GET", "/v1/chat/completions")[0].status, 405)


@test
def a_bad_request_is_told_why():
    with running(*FAST) as sim:
        for body, word in (("{", "JSON"), ('{"model":"m","model":"m"}', "duplicate"),
                           ('{"messages":[{}]}', "model"), ('{"model":"m"}', "messages"),
                           ('{"model":"m","messages":[{"content":"[[sim:nonsense]]"}]}', "nonsense")):
            response, answer = sim.call("POST", "/v1/chat/completions", body)
            same(response.status, 400)
            error = json.loads(answer)["error"]
            same(set(error), {"message", "type", "param", "code"})
            assert word in error["message"], error


@test
def a_key():
    with running(*FAST, "--key", "secret") as sim:
        same(sim.chat()[0].status, 401)
        same(sim.chat(headers={"Authorization": "Bearer secre"})[0].status, 401)
        same(sim.chat(headers={"Authorization": "Bearer secret"})[0].status, 200)


@test
def several_keys_of_which_some_fail():
    keys = ("--key", "good", "--key", "revoked,401", "--key", "broke,429,code=insufficient_quota",
            "--key", "busy,429,retry_after=1,times=2")
    with tempfile.TemporaryDirectory() as folder, \
            running(*FAST, *keys, "--fault", "500@9-", "--events", folder + "/events") as sim:
        def ask(key, text="hello"):
            return sim.chat(text, headers={"Authorization": "Bearer " + key})

        same([ask(k)[0].status for k in ("good", "revoked", "busy", "busy", "busy")], [200, 401, 429, 429, 200])
        response, body = ask("broke", "a directive does not help: [[sim:tokens=1]]")
        same((response.status, json.loads(body)["error"]["code"]), (429, "insufficient_quota"))
        same([ask(k)[0].status for k in ("unknown", "good")], [401, 200])
        same([ask(k)[0].status for k in ("good", "revoked")], [500, 401])
        seen = [json.loads(line)["key"] for line in open(folder + "/events") if '"request"' in line]
        same(seen, ["good", "revoked", "busy", "busy", "busy", "broke", "", "good", "good", "revoked"])


def limits_of(response, what):
    return tuple(response.getheader(f"x-ratelimit-{x}-{what}") for x in ("limit", "remaining", "reset"))


@test
def requests_per_minute():
    with running(*FAST, "--key", "a", "--key", "b", "--requests-per-minute", 2) as sim:
        def ask(key):
            return sim.chat(headers={"Authorization": "Bearer " + key})

        limit, remaining, reset = limits_of(ask("a")[0], "requests")
        same((limit, remaining), ("2", "1"))
        assert reset == "1m0s" or re.fullmatch(r"59(\.\d+)?s", reset), reset
        same(limits_of(ask("a")[0], "requests")[1], "0")
        response, body = ask("a")
        same((response.status, json.loads(body)["error"]["type"]), (429, "requests"))
        assert 55 <= int(response.getheader("retry-after")) <= 60
        assert 55000 <= int(response.getheader("retry-after-ms")) <= 60000
        same(limits_of(response, "requests")[1], "0")
        same(limits_of(response, "tokens"), (None, None, None))
        same(ask("b")[0].status, 200)
    with running(*FAST, "--requests-per-minute", 3, "--minute-ms", 300) as sim:
        let_in, end = [], time.monotonic() + 1.5
        while time.monotonic() < end:
            asked = time.monotonic()
            response, _ = sim.chat()
            if response.status == 200:
                let_in.append((asked, time.monotonic()))
            else:
                time.sleep(int(response.getheader("retry-after-ms")) / 1000)
        assert 12 <= len(let_in) <= 18, let_in
        spans = [later[1] - earlier[0] for earlier, later in zip(let_in, let_in[3:])]
        assert min(spans) >= 0.3, spans


@test
def tokens_per_minute():
    with running(*FAST, "--tokens-per-minute", 100) as sim:
        # A prompt of 4 + 20 / 4 tokens.
        prompt = "x" * (20 - len("[[sim:tokens=30]]")) + "[[sim:tokens=30]]"
        response, body = sim.chat(prompt)
        same(json.loads(body)["usage"]["total_tokens"], 39)
        same(limits_of(response, "tokens")[:2], ("100", "61"))
        same(limits_of(sim.chat(prompt)[0], "tokens")[1], "22")
        response, body = sim.chat(prompt)
        same((response.status, json.loads(body)["error"]["type"]), (429, "tokens"))
        assert int(response.getheader("retry-after")) <= 60
        response, body = sim.chat("[[sim:tokens=1000]]")
        same((response.status, response.getheader("retry-after")), (429, None))
        assert "too large" in json.loads(body)["error"]["message"]
        same(sim.chat("[[sim:tokens=14]]")[0].status, 200)
        same(limits_of(sim.chat()[0], "requests"), (None, None, None))


@test
def an_outage():
    with running(*FAST) as sim:
        def order(how, **more):
            return sim.call("POST", "/sim/outage", json.dumps({"how": how, **more}))[0].status

        same((order("503,retry_after=7"), sim.stats()["outage"]), (200, 1))
        response, _ = sim.chat("whatever it says: [[sim:tokens=1]]")
        same((response.status, response.getheader("retry-after")), (503, "7"))
        same((order("none"), sim.chat()[0].status, sim.stats()["outage"]), (200, 200, 0))
        same([order(how) for how in ("nonsense", "", None)], [400, 400, 400])

        # Down: what is open is reset, nobody else comes in, and it ends by itself.
        held, spectator = sim.raw("[[sim:stall_mid,n=1]]"), sim.connect()
        read_until(held, b'"t0 "')
        spectator.request("POST", "/sim/outage", json.dumps({"how": "refuse", "ms": 300}))
        same(spectator.getresponse().read(), b"{}\n")
        same(read_all(held)[1], "rst")
        try:
            sim.chat()
            assert False, "somebody listened"
        except ConnectionRefusedError:
            pass
        spectator.request("GET", "/sim/stats")
        stats = json.loads(spectator.getresponse().read())
        same((stats["outage"], stats["connections_open"], stats["in_flight"]), (1, 0, 0))
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                same(sim.chat()[0].status, 200)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < end
                time.sleep(0.01)
        same(sim.stats()["outage"], 0)
        for how in ("refuse", "refuse", "none"):
            spectator.request("POST", "/sim/outage", json.dumps({"how": how}))
            same(spectator.getresponse().read(), b"{}\n")
        same(sim.chat()[0].status, 200)
        order("refuse")


@test
def statuses_and_their_headers():
    with running(*FAST) as sim:
        statuses = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)
        same([sim.chat(f"[[sim:{s}]]")[0].status for s in statuses], list(statuses))
        response, body = sim.chat("[[sim:429,retry_after=2,should_retry=false,code=insufficient_quota]]")
        same(response.getheader("retry-after"), "2")
        same(response.getheader("x-should-retry"), "false")
        same(json.loads(body)["error"]["code"], "insufficient_quota")
        same(sim.chat("[[sim:503,retry_after_ms=70]]")[0].getheader("retry-after-ms"), "70")
        date = sim.chat("[[sim:503,retry_after_date=9]]")[0].getheader("retry-after")
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date), date
        response, body = sim.chat("[[sim:html_error]]")
        same((response.status, response.getheader("content-type")), (502, "text/html"))


@test
def faults_by_serial_number_by_times_and_by_chance():
    with running(*FAST, "--fault", "429,retry_after=1@2-3", "--fault", "500@5") as sim:
        same([sim.chat()[0].status for _ in range(6)], [200, 429, 429, 200, 500, 200])
        same([sim.chat("a [[sim:503,times=2]]")[0].status for _ in range(3)], [503, 503, 200])
        same(sim.chat("another [[sim:503,times=1]]")[0].status, 503)
    with running(*FAST, "--fault", "500,p=0.5", "--seed", 3) as sim:
        got = [sim.chat()[0].status for _ in range(60)]
        assert 10 < got.count(500) < 50, got
    with running(*FAST, "--fault", "500,p=0.5", "--seed", 3) as sim:
        same([sim.chat()[0].status for _ in range(60)], got)


@test
def broken_connections():
    with running(*FAST) as sim:
        same(read_all(sim.raw("[[sim:reset_before_headers]]")), (b"", "rst"))
        data, how = read_all(sim.raw("[[sim:reset_after_headers]]"))
        same((data.split(b" ")[1], data[-4:], how), (b"200", b"\r\n\r\n", "rst"))
        data, how = read_all(sim.raw("[[sim:reset_mid,n=4,rate=100]]"))
        same((data.count(b'"content":"t'), how), (4, "rst"))
        data, how = read_all(sim.raw("[[sim:cut_mid,n=2]]"))
        same((data.count(b'"content":"t'), b"[DONE]" in data, how), (2, False, "fin"))
        assert not data.endswith(b"0\r\n\r\n")
        data, how = read_all(sim.raw("[[sim:cut_mid,n=2,ended=yes]]"))
        same((data.count(b'"content":"t'), data.endswith(b"\r\n0\r\n\r\n"), how), (2, True, "fin"))
        data, how = read_all(sim.raw("[[sim:half_json,ended=no]]", stream=False))
        length = int(re.search(rb"content-length: (\d+)", data)[1])
        same((len(data.split(b"\r\n\r\n", 1)[1]), how), (length // 2, "fin"))
        response, body = sim.chat("[[sim:half_json]]")
        same(response.status, 200)
        try:
            json.loads(body)
            assert False, "half a JSON was whole"
        except json.JSONDecodeError:
            pass


@test
def stalls_last_until_the_client_goes():
    with running(*FAST) as sim:
        silent = sim.raw("[[sim:stall_headers]]")
        first = sim.raw("[[sim:stall_first]]")
        mid = sim.raw("[[sim:stall_mid,n=3]]")
        assert read_until(first, b"\r\n\r\n").endswith(b"\r\n\r\n")
        same(read_until(mid, b't2 "').count(b'"content":"t'), 3)
        sim.stats_until(in_flight=3)
        for sock in (silent, first, mid):
            sock.setblocking(False)
            try:
                assert False, f"not silent: {sock.recv(100)!r}"
            except BlockingIOError:
                sock.close()
        same(sim.stats_until(in_flight=0)["client_gone"], 3)
        same(text_of(sim.chat("[[sim:stall_mid,n=3,ms=20]]", stream=True)[1]), tokens(20))
        same(text_of(sim.chat("[[sim:stall_headers,ms=20]]", stream=True)[1]), tokens(20))


@test
def odd_streams():
    with running(*FAST, "--tokens", 4) as sim:
        def stream(spec, **more):
            response, body = sim.chat(f"[[sim:{spec}]]", stream=True, **more)
            same(response.status, 200)
            return response, body

        plain = stream("tokens=4")[1]
        assert b"[DONE]" in plain
        events = events_of(stream("error_mid,n=2,code=oops")[1])
        same(json.loads(events[-1])["error"]["code"], "oops")
        same(len(events), 1 + 2 + 1)
        same(text_of(stream("no_done")[1]), tokens(4))
        assert b"[DONE]" not in stream("no_done")[1]
        body = stream("crlf")[1]
        same(body.count(b"\r\n"), body.count(b"\n"))
        same(text_of(body.replace(b"\r\n", b"\n")), tokens(4))
        body = stream("cr")[1]
        same((b"\n" in body, text_of(body.replace(b"\r", b"\n"))), (False, tokens(4)))
        body = stream("comments")[1]
        same(len(re.findall(rb"(?m)^: ", body)), len(events_of(body)))
        body = stream("multi_data")[1]
        same(text_of(body.replace(b"\ndata: ", b"\n").replace(b"\n\n", b"\n\ndata: ")
                     .replace(b"data: data: ", b"data: ").removesuffix(b"data: ")), tokens(4))
        same(json.loads(events_of(stream("usage_empty_choices")[1])[-2])["choices"], [])
        usage = {"stream_options": {"include_usage": True}}
        assert b"completion_tokens" not in stream("no_usage", **usage)[1]
        try:
            stream("bad_utf8,n=1")[1].decode()
            assert False, "that was UTF-8"
        except UnicodeDecodeError:
            pass
        assert b'"' + b"x" * 5000 + b'"' in stream("big_token,n=1,bytes=5000")[1]
        same(stream("wrong_type")[0].getheader("content-type"), "text/plain")
        response, body = stream("json_for_stream")
        same(response.getheader("content-type"), "application/json")
        same(json.loads(body)["choices"][0]["message"]["content"], tokens(4))
        data, how = read_all(sim.raw("[[sim:endless_event,n=1,bytes=300000]]"))
        body = data[data.rindex(b"data: "):]
        same((body.count(b"x"), b"\n\n" in body, how), (300000, False, "fin"))


@test
def the_limit_that_a_client_has_to_find():
    with running("--max-concurrent", 2, "--rate", 100, "--text", "tokens") as sim:
        held = [sim.raw("[[sim:stall_first]]") for _ in range(2)]
        sim.stats_until(in_flight=2)
        same(sim.chat()[0].status, 429)
        for sock in held:
            sock.close()
        sim.stats_until(in_flight=0)
        same(sim.chat()[0].status, 200)
        stats = sim.stats()
        same((stats["max_in_flight"], stats["requests"], stats["responses"]["429"]), (3, 4, 1))
        sim.call("POST", "/sim/reset")
        stats = sim.stats()
        same((stats["max_in_flight"], stats["requests"], stats["max_connections_open"]), (0, 0, 0))


@test
def connections_are_kept_and_counted_without_the_spectators():
    with running(*FAST) as sim:
        conns = [sim.connect() for _ in range(3)]
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]})
        for conn in conns * 2:
            conn.request("POST", "/v1/chat/completions", body)
            same(conn.getresponse().read()[:1], b"{")
        stats = sim.stats_until(idle_connections=3, max_idle_connections=3)
        same((stats["connections_open"], stats["max_connections_open"]), (3, 3))
        conns[0].close()
        sim.stats_until(idle_connections=2, connections_open=2)
        # A chunked body, and two requests in one segment.
        conns[1].request("POST", "/v1/chat/completions", iter([body[:9].encode(), body[9:].encode()]),
                         {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        same(conns[1].getresponse().read()[:1], b"{")
        sock = socket.create_connection(("127.0.0.1", sim.port), timeout=PATIENCE_S)
        get = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"
        sock.sendall(get + b"\r\n" + get + b"Connection: close\r\n\r\n")
        data, how = read_all(sock)
        same((data.count(b"HTTP/1.1 200 OK"), how), (2, "fin"))


@test
def careless_http_is_refused():
    with running(*FAST) as sim:
        host = b"Host: x\r\n"
        bad = {
            b"GET /v1/models HTTP/1.1\r\n\r\n": b"400",
            b"GET /v1/models HTTP/1.1\n" + host + b"\r\n": b"400",
            b"GET  /v1/models HTTP/1.1\r\n" + host + b"\r\n": b"400",
            b"GET /v1/models HTTP/2.0\r\n" + host + b"\r\n": b"505",
            b"GET /v1/models HTTP/1.1\r\n" + host + b"a : b\r\n\r\n": b"400",
            b"GET /v1/models HTTP/1.1\r\n" + host + b"a: b\r\n c\r\n\r\n": b"400",
            b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na": b"400",
            b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n": b"400",
            b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nz\r\n": b"400",
            b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 99999999\r\n\r\n": b"413",
        }
        for request, status in bad.items():
            with socket.create_connection(("127.0.0.1", sim.port), timeout=PATIENCE_S) as sock:
                sock.sendall(request)
                same((request, read_all(sock)[0].split(b" ")[1]), (request, status))
        same(sim.stats()["refused"], len(bad))


@test
def a_slow_reader_is_not_buffered_for_without_bound():
    with running(*FAST) as sim:
        slow = sim.raw("[[sim:tokens=200000]]")
        parts = [read_until(slow, b't0 "')]
        # By the time that another one has been sent whole, this one would have been, too.
        same(text_of(sim.chat("[[sim:tokens=200000]]", stream=True)[1]), tokens(200000))
        same(sim.stats()["in_flight"], 1)
        rss = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{sim.process.pid}/status").read())[1])
        assert rss < 30 * 1024, f"{rss} kB"
        while not parts[-1].endswith(b"\r\n0\r\n\r\n"):
            parts.append(slow.recv(1 << 20))
            assert parts[-1]
        same(b"".join(parts).count(b'"content":"t'), 200000)
        sim.stats_until(in_flight=0, completed=2)


@test
def a_body_read_slowly():
    with running(*FAST, "--fault", "slow_read,bytes=4000,ms=1@1") as sim:
        same(sim.chat("x" * 100000)[0].status, 200)
        same(sim.chat("x" * 5000000)[0].status, 200)


@test
def the_events_file():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/events"
        before = time.monotonic() * 1e6
        with running("--text", "tokens", "--tokens", 3, "--rate", 200, "--events", path) as sim:
            sim.chat('say "hi" ' + "é" * 100, stream=True)
            gone = sim.raw("[[sim:stall_mid,n=1]]")
            read_until(gone, b'"t0 "')
            gone.close()
            sim.stats_until(in_flight=0)
            sim.chat("[[sim:429]]")
        after = time.monotonic() * 1e6
        events = [json.loads(line) for line in open(path)]
        times = [e["t_us"] for e in events]
        same(times, sorted(times))
        assert before <= times[0] and times[-1] <= after, "another clock"

        def of(req):
            return [e for e in events if e.get("req") == req]

        same([e["event"] for e in of(1)], ["request", "head", "token", "token", "token", "done"])
        request = of(1)[0]
        same((request["method"], request["path"], request["model"], request["stream"], request["in_flight"]),
             ("POST", "/v1/chat/completions", "m", True, 1))
        same(request["prompt"], 'say "hi" ' + "é" * 51)
        same([e["n"] for e in of(1) if e["event"] == "token"], [0, 1, 2])
        same([of(r)[-1]["how"] for r in (1, 2, 3)], ["complete", "client_gone", "fault:429"])
        opened = [e["conn"] for e in events if e["event"] == "open"]
        closed = [e["conn"] for e in events if e["event"] == "close"]
        same(sorted(closed), opened)


@test
def tokens_come_one_by_one():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/events"
        with running("--events", path, "--text", "tokens", "--jitter", 50) as sim:
            sock = sim.raw("[[sim:tokens=3,rate=2]]")
            same(read_until(sock, b't0 "').count(b'"content":"t'), 1)
            same(read_until(sock, b't1 "').count(b'"content":"t'), 1)
            read_until(sock, b"[DONE]")
            sim.chat("[[sim:burst,n=5,tokens=10,rate=10]]", stream=True)
        times = [e["t_us"] for e in map(json.loads, open(path)) if e["event"] == "token"]
        single, burst = times[:3], times[3:]
        assert all(b > a for a, b in zip(single, single[1:]))
        same(len(burst), 10)
        inside = max(burst[4] - burst[0], burst[9] - burst[5])
        assert burst[5] - burst[4] > inside, burst


@test
def mistakes_on_the_command_line_get_advice():
    for args, word in ((["--rate", "fast"], "number"), (["--fault", "explode"], "--help"),
                       (["--fault", "429,retry_after=soon"], "number"), (["--listen", "8900"], "HOST:PORT"),
                       (["--text", "poem"], "echo"), (["--key", "k,explode"], "--help"), (["--key", ""], "KEY"), (["--fault", "500@9-3"], "@3-5"), (["extra"], "--help")):
        done = subprocess.run([LLMSIM, *args], capture_output=True, text=True)
        same((args, done.returncode, done.stdout), (args, 2, ""))
        assert done.stderr.startswith("llmsim: ") and word in done.stderr, done.stderr
    done = subprocess.run([LLMSIM, "--help"], capture_output=True, text=True)
    same(done.returncode, 0)
    assert "--first-token-ms" in done.stdout and "stall_mid" in done.stdout
    with running() as sim:
        done = subprocess.run([LLMSIM, "--listen", f"127.0.0.1:{sim.port}"], capture_output=True, text=True)
        same(done.returncode, 1)
        assert "in use" in done.stderr


@test
def the_manual_names_every_option_fault_and_key():
    shown = subprocess.run([LLMSIM, "--help"], capture_output=True, text=True).stdout
    names = re.findall(r"(?m)^  (?:--)?([\w-]+) ", shown) + re.search(r"a status \((.*)\)", shown)[1].split()
    assert len(names) > 60, names
    manual = open(os.path.join(os.path.dirname(__file__), "../man/llmsim.1")).read()
    same([n for n in names if not re.search(rf"(?<!\w){n}(?![\w-])", manual)], [])


@test
def sigint_ends_it_too():
    sim = Sim()
    held = sim.raw()
    read_until(held, b"\r\n\r\n")
    sim.stop(signal.SIGINT)


def main():
    print(f"1..{len(tests)}")
    failed = 0
    for number, fn in enumerate(tests, 1):
        try:
            fn()
            print(f"ok {number} - {fn.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {fn.__name__}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), flush=True)
    return 1 if failed else 0


sys.exit(main())
