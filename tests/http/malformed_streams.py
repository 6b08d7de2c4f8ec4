"""
The part of malformed_cases.py that is for the second door: /v1/stream. There are a stream "text" of
text/plain with one record of ten bytes, "json" of application/json with one message, and "shut", which
is closed. Importing this adds the cases.
"""

from malformed_cases import HOST, NDJSON, case, sized

STREAMS = (
    ("text", "text/plain", b"ten bytes."), ("json", "application/json", b'{"a":1}'),
    ("shut", "text/plain", b"the end"),
)
STREAM_KINDS = {b"json": b"application/json"}


def stream(method, headers=b"", body=b"", name=b"text", query=b"", kind=None):
    """`kind` b"": without a content type."""
    kind = STREAM_KINDS.get(name, b"text/plain") if kind is None else kind
    line = method + b" /v1/stream/" + name + query + b" HTTP/1.1\r\n" + HOST + headers
    if method in (b"POST", b"PUT"):
        line += b"Content-Length: %d\r\n" % len(body)
        line += b"Content-Type: " + kind + b"\r\n" if kind else b""
    return line + b"\r\n" + body


def stream_case(name, sent, *allowed):
    case("stream-" + name, sent, *allowed, needs="PUT")


for name, target in (
    ("percent", b"te%78t"), ("nul", b"text%00"), ("slash", b"text%2Fx"), ("dots", b".."),
    ("dot", b"."), ("empty", b""), ("dash", b"-text"), ("129", b"a" * 129), ("two", b"a/b"),
    ("utf8", "\u00fc".encode()), ("comma", b"a,b"), ("reserved", b"__ds"),
    ("reserved-below", b"__ds/subscriptions/a"),
):
    for method in (b"GET", b"PUT", b"POST", b"DELETE"):
        body = b"x" if method == b"POST" else b""
        stream_case(f"name-{name}-{method.decode().lower()}", stream(method, b"", body, target),
                    "any")

TOKEN = b"0" * 16 + b"_" + b"0" * 16
for name, value, *allowed in (
    ("empty", b"", "400"), ("word", b"abc", "400"), ("minus-2", b"-2", "400"), ("plus", b"+1", "400"),
    ("number", b"0", "400"), ("short", b"0_0", "400"), ("long", b"0" + TOKEN, "400"),
    ("dash", TOKEN.replace(b"_", b"-"), "400"), ("two", TOKEN + b"_0", "400"),
    ("comma", TOKEN + b",-1", "400"), ("nul", b"-1%00", "400"), ("space", b"-1%20", "400"),
    ("plus-behind", b"-1+", "400"), ("slash", b"../-1", "400"), ("encoded", b"%2D1", "400"),
    ("now-upper", b"NOW", "400"), ("hexadecimal", b"0" * 15 + b"a_" + b"0" * 16, "400"),
    ("bytes-without-record", b"0" * 16 + b"_" + b"9" * 16, "400"),
    ("record-without-bytes", b"0" * 15 + b"1_" + b"0" * 16, "400"),
    ("inside-record", b"0" * 15 + b"1_" + b"0" * 15 + b"4", "400"),
    ("number-before-range", b"18446744073709551616_0", "400"),
    ("20-digits", b"9" * 20 + b"_" + b"9" * 20, "400"), ("1000-bytes", b"0" * 900, "400"),
    ("fullwidth", "\uff10_\uff10".encode(), "400"),
):
    stream_case(f"offset-{name}", stream(b"GET", query=b"?offset=" + value), *allowed)
for name, query in (
    ("offset-twice", b"?offset=-1&offset=-1"), ("offset-bare", b"?offset"),
    ("live-twice", b"?offset=-1&live=sse&live=long-poll"), ("live-empty", b"?offset=-1&live="),
    ("live-word", b"?offset=-1&live=websocket"), ("live-upper", b"?offset=-1&live=SSE"),
    ("live-nul", b"?offset=-1&live=sse%00"), ("long-poll-without-offset", b"?live=long-poll"),
    ("sse-without-offset", b"?live=sse"), ("cursor-twice", b"?offset=-1&cursor=1&cursor=2"),
    ("parameters-9", b"?" + b"&".join(b"a%d" % i for i in range(9))),
    ("fragment", b"?offset=-1#a"),
):
    stream_case(f"query-{name}", stream(b"GET", query=query), "400")

for name, headers, *allowed in (
    ("seq-twice", b"Stream-Seq: 1\r\nStream-Seq: 2\r\n", "400"),
    ("seq-long", b"Stream-Seq: " + b"9" * 3000 + b"\r\n", "any"),
    ("seq-control", b"Stream-Seq: a\x01\r\n", "400"),
    ("closed-twice", b"Stream-Closed: true\r\nStream-Closed: false\r\n", "400"),
    ("closed-nul", b"Stream-Closed: true\0\r\n", "400", "400 lib", "closed"),
    ("type-twice", b"Content-Type: text/plain\r\n", "400"),
    ("producer-id-alone", b"Producer-Id: a\r\n", "400"),
    ("producer-epoch-alone", b"Producer-Epoch: 0\r\n", "400"),
    ("producer-seq-alone", b"Producer-Seq: 0\r\n", "400"),
    ("producer-without-seq", b"Producer-Id: a\r\nProducer-Epoch: 0\r\n", "400"),
    ("producer-id-empty", b"Producer-Id:\r\nProducer-Epoch: 0\r\nProducer-Seq: 0\r\n", "400"),
    ("producer-id-long", b"Producer-Id: " + b"a" * 3000 +
     b"\r\nProducer-Epoch: 0\r\nProducer-Seq: 0\r\n", "any"),
    ("producer-id-twice", b"Producer-Id: a\r\nProducer-Id: b\r\nProducer-Epoch: 0\r\n"
     b"Producer-Seq: 0\r\n", "400"),
    ("producer-epoch-minus", b"Producer-Id: a\r\nProducer-Epoch: -1\r\nProducer-Seq: 0\r\n", "400"),
    ("producer-epoch-word", b"Producer-Id: a\r\nProducer-Epoch: x\r\nProducer-Seq: 0\r\n", "400"),
    ("producer-epoch-2-53", b"Producer-Id: a\r\nProducer-Epoch: 9007199254740992\r\n"
     b"Producer-Seq: 0\r\n", "400"),
    ("producer-seq-2-64", b"Producer-Id: a\r\nProducer-Epoch: 0\r\n"
     b"Producer-Seq: 18446744073709551616\r\n", "400"),
    ("producer-seq-point", b"Producer-Id: a\r\nProducer-Epoch: 0\r\nProducer-Seq: 0.0\r\n", "400"),
    ("producer-gap", b"Producer-Id: a\r\nProducer-Epoch: 0\r\nProducer-Seq: 7\r\n", "409"),
    ("if-match", b'If-Match: "1"\r\n', "400"),
    ("if-none-match", b"If-None-Match: *\r\n", "400"),
    ("idempotency-key", b"Idempotency-Key: a\r\n", "400"),
    ("encoding-br", b"Content-Encoding: br\r\n", "415"),
    ("encoding-gzip-no-gzip", b"Content-Encoding: gzip\r\n", "400"),
):
    stream_case(f"append-{name}", stream(b"POST", headers, b"x"), *allowed)
stream_case("append-empty", stream(b"POST"), "400")
stream_case("append-without-type", stream(b"POST", b"", b"x", kind=b""), "400")
stream_case("append-other-type", stream(b"POST", b"", b"x", kind=b"text/html"), "409")
stream_case("append-word-as-type", stream(b"POST", b"", b"x", kind=b"text"), "any")
stream_case("append-long-type", stream(b"POST", b"", b"x", kind=b"text/" + b"p" * 3000), "any")
stream_case("append-ndjson", stream(b"POST", b"", b"x", kind=b"application/x-ndjson"), "409")
stream_case("append-missing", stream(b"POST", b"", b"x", b"ghost"), "404")
stream_case("append-closed", stream(b"POST", b"", b"x", b"shut"), "409")
stream_case("append-native-closed", sized(b"", b"x", b"shut"), "409")
stream_case("close-missing", stream(b"POST", b"Stream-Closed: true\r\n", name=b"ghost"), "404")
stream_case("delete-missing", stream(b"DELETE", name=b"ghost"), "404")
stream_case("get-with-body", stream(b"GET", b"Content-Length: 1\r\n") + b"x", "400")
stream_case("patch", stream(b"PATCH"), "405")

for name, headers, *allowed in (
    ("ttl-twice", b"Stream-TTL: 60\r\nStream-TTL: 60\r\n", "400"),
    ("ttl-empty", b"Stream-TTL:\r\n", "400"), ("ttl-zeros", b"Stream-TTL: 00060\r\n", "400"),
    ("ttl-plus", b"Stream-TTL: +60\r\n", "400"), ("ttl-point", b"Stream-TTL: 60.5\r\n", "400"),
    ("ttl-exponent", b"Stream-TTL: 6e1\r\n", "400"), ("ttl-minus", b"Stream-TTL: -1\r\n", "400"),
    ("ttl-word", b"Stream-TTL: abc\r\n", "400"), ("ttl-unit", b"Stream-TTL: 60s\r\n", "400"),
    ("ttl-1000-digits", b"Stream-TTL: " + b"9" * 1000 + b"\r\n", "400"),
    ("expires-word", b"Stream-Expires-At: tomorrow\r\n", "400"),
    ("expires-empty", b"Stream-Expires-At:\r\n", "400"),
    ("expires-date", b"Stream-Expires-At: 2099-01-01\r\n", "400"),
    ("expires-no-zone", b"Stream-Expires-At: 2099-01-01T00:00:00\r\n", "400"),
    ("expires-no-day", b"Stream-Expires-At: 2099-02-30T00:00:00Z\r\n", "400"),
    ("expires-hour-25", b"Stream-Expires-At: 2099-01-01T25:00:00Z\r\n", "400"),
    ("expires-number", b"Stream-Expires-At: 4070908800\r\n", "400"),
    ("expires-year-99999", b"Stream-Expires-At: 99999-01-01T00:00:00Z\r\n", "400"),
    ("expires-behind", b"Stream-Expires-At: 2099-01-01T00:00:00Zx\r\n", "400"),
    ("ttl-and-expires", b"Stream-TTL: 60\r\nStream-Expires-At: 2099-01-01T00:00:00Z\r\n", "400"),
    ("fork-of-nothing", b"Stream-Forked-From: /v1/stream/missing\r\n", "404"),
    ("fork-of-itself", b"Stream-Forked-From: /v1/stream/ghost\r\n", "any"),
    ("fork-from-empty", b"Stream-Forked-From:\r\n", "any"),
    ("fork-from-name", b"Stream-Forked-From: text\r\n", "any"),
    ("fork-from-logs", b"Stream-Forked-From: /logs/text\r\n", "any"),
    ("fork-from-elsewhere", b"Stream-Forked-From: http://example.com/v1/stream/text\r\n", "any"),
    ("fork-from-dots", b"Stream-Forked-From: /v1/stream/../text\r\n", "any"),
    ("fork-from-percent", b"Stream-Forked-From: /v1/stream/te%78t\r\n", "any"),
    ("fork-from-query", b"Stream-Forked-From: /v1/stream/text?a\r\n", "any"),
    ("fork-from-twice", b"Stream-Forked-From: /v1/stream/text\r\n" * 2, "400"),
    ("fork-offset-word", b"Stream-Forked-From: /v1/stream/text\r\nStream-Fork-Offset: a\r\n", "400"),
    ("fork-offset-past", b"Stream-Forked-From: /v1/stream/text\r\nStream-Fork-Offset: " +
     b"9" * 16 + b"_" + b"9" * 16 + b"\r\n", "400"),
    ("fork-offset-wrong", b"Stream-Forked-From: /v1/stream/text\r\nStream-Fork-Offset: " +
     b"0" * 15 + b"1_" + b"0" * 16 + b"\r\n", "400"),
    ("fork-offset-twice", b"Stream-Forked-From: /v1/stream/text\r\n" +
     (b"Stream-Fork-Offset: " + TOKEN + b"\r\n") * 2, "400"),
    ("fork-sub-alone", b"Stream-Fork-Sub-Offset: 0\r\n", "400"),
    ("fork-sub-without-offset", b"Stream-Forked-From: /v1/stream/text\r\n"
     b"Stream-Fork-Sub-Offset: 1\r\n", "400"),
    ("fork-sub-word", b"Stream-Forked-From: /v1/stream/text\r\nStream-Fork-Offset: " + TOKEN +
     b"\r\nStream-Fork-Sub-Offset: x\r\n", "400"),
    ("fork-sub-minus", b"Stream-Forked-From: /v1/stream/text\r\nStream-Fork-Offset: " + TOKEN +
     b"\r\nStream-Fork-Sub-Offset: -1\r\n", "400"),
    ("fork-sub-2-64", b"Stream-Forked-From: /v1/stream/text\r\nStream-Fork-Offset: " + TOKEN +
     b"\r\nStream-Fork-Sub-Offset: 18446744073709551615\r\n", "400"),
    ("fork-sub-zeros", b"Stream-Forked-From: /v1/stream/text\r\nStream-Fork-Offset: " + TOKEN +
     b"\r\nStream-Fork-Sub-Offset: 01\r\n", "400"),
    ("fork-other-type", b"Stream-Forked-From: /v1/stream/json\r\n", "409"),
    ("producer", b"Producer-Id: a\r\nProducer-Epoch: 0\r\nProducer-Seq: 0\r\n", "any"),
    ("if-none-match", b"If-None-Match: *\r\n", "400"),
):
    stream_case(f"create-{name}", stream(b"PUT", headers, name=b"ghost"), *allowed)
stream_case("create-other-type", stream(b"PUT", kind=b"text/html"), "409")
stream_case("create-other-ttl", stream(b"PUT", b"Stream-TTL: 60\r\n"), "409")
stream_case("create-other-closed", stream(b"PUT", b"Stream-Closed: true\r\n"), "409")
stream_case("create-long-type", stream(b"PUT", name=b"ghost", kind=b"text/" + b"p" * 3000), "any")

# JSON: none of it is a message, for a stream that is there and for one that is to be made.
for name, body in (
    ("word", b"hello"), ("blank", b" "), ("open-object", b"{"), ("open-array", b"[1,2"),
    ("open-string", b'"abc'), ("open-escape", b'"abc\\'), ("cut-literal", b"tru"),
    ("literal-behind", b"nullx"), ("literal-upper", b"True"), ("two-values", b"1 2"),
    ("two-objects", b"{}{}"), ("lines", b'{"a":1}\n{"a":2}\n'), ("junk-behind", b"{} x"),
    ("nul-behind", b"{}\0"), ("nul-alone", b"\0"), ("nul-in-string", b'"a\0b"'),
    ("comma-last", b"[1,]"), ("comma-first", b"[,1]"), ("comma-twice", b"[1,,2]"),
    ("comma-alone", b","), ("member-comma-last", b'{"a":1,}'), ("member-no-colon", b'{"a" 1}'),
    ("member-no-value", b'{"a":}'), ("member-number", b"{1:2}"), ("member-bare", b"{a:1}"),
    ("quotes-single", b"['a']"), ("comment", b"[1]//a"), ("comment-block", b"/*a*/[1]"),
    ("bom", b"\xef\xbb\xbf[1]"), ("utf16", "[1]".encode("utf-16")), ("wrong-end", b"[1}"),
    ("end-alone", b"]"), ("end-twice", b"[1]]"), ("control", b'"a\x01b"'), ("tab", b'"a\tb"'),
    ("line-end", b'"a\nb"'), ("escape-x", b'"\\x41"'), ("escape-u-short", b'"\\u12"'),
    ("escape-u-word", b'"\\uzzzz"'), ("vertical-tab", b"\x0b1"), ("no-break-space", b"\xc2\xa01"),
    ("utf8-bad", b'"\xff"'), ("utf8-alone", b'"\x80"'), ("utf8-overlong", b'"\xc0\xaf"'),
    ("utf8-overlong-3", b'"\xe0\x80\xaf"'), ("utf8-surrogate", b'"\xed\xa0\x80"'),
    ("utf8-beyond", b'"\xf4\x90\x80\x80"'), ("utf8-cut", b'"\xe2\x82"'), ("utf8-end", b'"\xe2\x82'),
    ("utf8-in-name", b'{"\xff":1}'), ("number-zeros", b"01"), ("number-plus", b"+1"),
    ("number-point", b"1."), ("number-point-first", b".5"), ("number-exponent", b"1e"),
    ("number-exponent-sign", b"1e+"), ("number-minus", b"-"), ("number-minus-zero", b"-01"),
    ("number-hexadecimal", b"0x10"), ("number-nan", b"NaN"), ("number-infinity", b"Infinity"),
    ("number-underscore", b"1_000"), ("deep-open", b"[" * 60000), ("deep-objects", b'{"a":' * 20000),
    ("deep-wrong", b"[" * 5000 + b"}" * 5000), ("deep-100000", b"[" * 100000 + b"]" * 100000),
    ("array-of-bad", b'[1,2,{"a":}]'), ("last-bad", b"[" + b"1," * 5000 + b"x]"),
):
    for target in (b"json", b"ghost"):
        method = b"POST" if target == b"json" else b"PUT"
        stream_case(f"json-{name}-{method.decode().lower()}",
                    stream(method, b"", body, target, kind=b"application/json"), "any")
stream_case("json-empty-array", stream(b"POST", b"", b"[]", b"json"), "400")
stream_case("json-too-many", [stream(b"POST", b"", b"[" + b"1," * 70000 + b"1]", b"json")], "any")
stream_case("json-native", sized(b"", b"{", b"json"), "400")
stream_case("json-native-lines", sized(NDJSON, b"1\n{\n", b"json"), "400")
