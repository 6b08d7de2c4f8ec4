"""
Requests that must not be served. Each case has a name, the bytes, and what may be answered: a status
of the service's own, with a problem document; or one of the HTTP library's, marked "lib", which are
those that openapi.yaml lists; or "closed", without an answer. "any" is any 4xx of the service's own.
Several in a row are the answers to several requests in a row.
"""

from collections import namedtuple

# `sent`: the bytes, or a list of pieces to be sent apart. `allowed`: alternatives. `ends`: the client
# says that it sends nothing more. `needs`: a method that /logs/{log} must have for the case to apply.
Case = namedtuple("Case", "name sent allowed ends needs")

HOST = b"Host: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
# What would be run if a reader took it for a request of its own.
HIDDEN = b"POST /logs/ghost HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
LIVE = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"

CASES = []


def case(name, sent, *allowed, ends=False, needs=None):
    CASES.append(Case(name, sent, allowed, ends, needs))


def post(headers=b"", body=b"", log=b"held", version=b"HTTP/1.1", line_end=b"\r\n"):
    return b"POST /logs/" + log + b" " + version + line_end + HOST + headers + b"\r\n" + body


def sized(headers, body=b"x", log=b"held"):
    return post(headers + b"Content-Length: %d\r\n" % len(body), body, log)


def chunks(body):
    return post(CHUNKED, body)


def get(target, headers=HOST):
    return b"GET " + target + b" HTTP/1.1\r\n" + headers + b"\r\n"


# ---- the request line ----

for name, line, *allowed in (
    ("method-lowercase", b"post /logs/held HTTP/1.1", "405"),
    ("method-mixed-case", b"Post /logs/held HTTP/1.1", "405"),
    ("method-unknown", b"APPEND /logs/held HTTP/1.1", "405"),
    ("method-trace", b"TRACE /logs/held HTTP/1.1", "405"),
    ("method-patch", b"PATCH /logs/held/records HTTP/1.1", "405"),
    ("method-with-separator", b"PO(ST /logs/held HTTP/1.1", "400"),
    ("method-with-colon", b"POST: /logs/held HTTP/1.1", "400"),
    ("method-with-nul", b"POST\0 /logs/held HTTP/1.1", "400"),
    ("method-cut-by-nul", b"POST\0X /logs/held HTTP/1.1", "400"),
    ("method-with-control", b"PO\x01ST /logs/held HTTP/1.1", "400"),
    ("method-non-ascii", b"P\xd6ST /logs/held HTTP/1.1", "400"),
    ("method-behind-tab", b"\tPOST /logs/held HTTP/1.1", "400"),
    ("method-behind-space", b" POST /logs/held HTTP/1.1", "400"),
    ("method-behind-cr", b"\rPOST /logs/held HTTP/1.1", "400"),
    ("method-behind-bom", b"\xef\xbb\xbfPOST /logs/held HTTP/1.1", "400"),
    ("method-4000-bytes", b"P" * 4000 + b" /logs/held HTTP/1.1", "405"),
    ("method-alone", b"POST", "closed"),
    ("connect-authority", b"CONNECT localhost:80 HTTP/1.1", "400"),
    ("connect-path", b"CONNECT /logs/held HTTP/1.1", "405"),
    ("target-missing", b"POST HTTP/1.1", "400 lib"),
    ("target-empty", b"POST  HTTP/1.1", "400 lib"),
    ("target-absolute", b"POST http://localhost/logs/held HTTP/1.1", "400"),
    ("target-absolute-https", b"POST https://localhost/logs/held HTTP/1.1", "400"),
    ("target-absolute-foreign", b"POST http://example.com/logs/held HTTP/1.1", "400"),
    ("target-authority", b"POST localhost:80 HTTP/1.1", "400"),
    ("target-asterisk", b"POST * HTTP/1.1", "400"),
    ("options-asterisk", b"OPTIONS * HTTP/1.1", "400"),
    ("target-without-slash", b"POST logs/held HTTP/1.1", "400"),
    ("target-backslashes", b"POST \\logs\\held HTTP/1.1", "400"),
    ("target-fragment", b"POST /logs/held#a HTTP/1.1", "400"),
    ("target-query-fragment", b"POST /logs/held?#a HTTP/1.1", "400"),
    ("target-nul", b"POST /logs/held\0 HTTP/1.1", "400"),
    ("target-cut-by-nul", b"POST /logs/held\0/../ghost HTTP/1.1", "400"),
    ("target-control", b"POST /logs/held\x1f HTTP/1.1", "400"),
    ("target-delete", b"POST /logs/held\x7f HTTP/1.1", "400"),
    ("target-tab", b"POST /logs/held\t HTTP/1.1", "400"),
    ("target-bare-cr", b"POST /logs/\rheld HTTP/1.1", "400"),
    ("target-bare-lf", b"POST /logs/\nheld HTTP/1.1", "400"),
    ("target-utf8", "POST /logs/h\u00e9ld HTTP/1.1".encode(), "400"),
    ("target-latin1", b"POST /logs/h\xe9ld HTTP/1.1", "400"),
    ("target-with-space", b"POST /logs/held x HTTP/1.1", "400 lib"),
    ("target-behind-two-spaces", b"POST  /logs/held HTTP/1.1", "400"),
    ("target-behind-tab", b"POST\t/logs/held HTTP/1.1", "400 lib"),
    ("target-1025-bytes", b"POST /logs/" + b"a" * 1019 + b" HTTP/1.1", "414"),
    ("target-5000-bytes", b"POST /logs/" + b"a" * 5000 + b" HTTP/1.1", "414"),
    ("target-9000-bytes", b"POST /logs/" + b"a" * 9000 + b" HTTP/1.1", "414 lib"),
    ("target-100000-bytes", b"POST /logs/" + b"a" * 100000 + b" HTTP/1.1", "414 lib"),
    ("version-missing", b"POST /logs/held", "400 lib"),
    ("version-0.9", b"POST /logs/held HTTP/0.9", "505 lib"),
    ("version-1.2", b"POST /logs/held HTTP/1.2", "400"),
    ("version-1.9", b"POST /logs/held HTTP/1.9", "400"),
    ("version-2.0", b"POST /logs/held HTTP/2.0", "505 lib"),
    ("version-3.0", b"POST /logs/held HTTP/3.0", "505 lib"),
    ("version-1.10", b"POST /logs/held HTTP/1.10", "400 lib"),
    ("version-01.1", b"POST /logs/held HTTP/01.1", "400 lib"),
    ("version-1,1", b"POST /logs/held HTTP/1,1", "400 lib"),
    ("version-lowercase", b"POST /logs/held http/1.1", "400 lib"),
    ("version-other-protocol", b"POST /logs/held ICAP/1.0", "400 lib"),
    ("version-without-slash", b"POST /logs/held HTTP1.1", "400 lib"),
    ("version-non-digit", b"POST /logs/held HTTP/x.1", "400 lib"),
    ("version-then-space", b"POST /logs/held HTTP/1.1 ", "400 lib"),
    ("version-behind-two-spaces", b"POST /logs/held  HTTP/1.1", "400 lib"),
    ("version-behind-tab", b"POST /logs/held\tHTTP/1.1", "400 lib"),
    ("version-with-nul", b"POST /logs/held HTTP/1.1\0", "400 lib"),
    ("version-with-cr", b"POST /logs/held HTTP/1.1\r", "400 lib"),
    ("line-of-nuls", b"\0\0\0\0", "closed"),
    ("line-of-binary", bytes(range(128, 256)), "closed"),
    ("line-of-tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "closed"),
    ("line-of-smtp", b"EHLO localhost", "400 lib"),
):
    case(name, line + b"\r\n" + HOST + b"Content-Length: 1\r\n\r\nx", *allowed)

case("http-0.9", b"GET /livez\r\n", "400 lib")
case("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 lib")
case("http-2-upgrade", post(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"), "400")
case("nul-line-before-request", b"\0\r\n" + HIDDEN, "closed")
case("nul-lf-line-before-request", b"\0\n" + HIDDEN, "400")
case("bare-lf-before-request", b"\n" + HIDDEN, "400")

# ---- lines and headers ----

case("all-lines-bare-lf", HIDDEN.replace(b"\r\n", b"\n"), "closed", ends=True)
case("all-lines-bare-cr", HIDDEN.replace(b"\r\n", b"\r"), "closed", ends=True)
case("all-lines-lf-cr", HIDDEN.replace(b"\r\n", b"\n\r"), "400 lib", ends=True)
case("request-line-bare-lf", post(b"Content-Length: 1\r\n", b"x", line_end=b"\n"), "400 lib")
case("request-line-nul-lf", post(b"Content-Length: 1\r\n", b"x", line_end=b"\0\n"), "400 lib")
case("last-line-bare-lf", post(b"Content-Length: 1\n", b"x"), "closed", ends=True)
case("empty-line-bare-lf", HIDDEN.replace(b"\r\n\r\n", b"\r\n\n"), "closed", ends=True)
case("empty-line-nul", post(b"\0\r\n" + HIDDEN), "400 lib")
case("empty-line-nul-lf", post(b"\0\n" + HIDDEN), "400 lib")
case("empty-line-cr-cr-lf", post(b"\r\r\n" + HIDDEN), "400 lib")

for name, header, *allowed in (
    ("header-without-colon", b"Nothing", "400 lib"),
    ("header-without-name", b": value", "400 lib"),
    ("header-hidden-without-name", b": chunked\r\nTransfer-Encoding: chunked", "400 lib"),
    ("header-space-before-colon", b"X-Name : value", "400"),
    ("header-tab-before-colon", b"X-Name\t: value", "400"),
    ("header-name-with-space", b"X Name: value", "400"),
    ("header-name-with-nul", b"X\0Name: value", "400"),
    ("header-name-with-cr", b"X\rName: value", "400"),
    ("header-name-with-slash", b"X/Name: value", "400"),
    ("header-name-in-parentheses", b"(X): value", "400"),
    ("header-name-quoted", b'"X": value', "400"),
    ("header-name-with-comma", b"X,Y: value", "400"),
    ("header-name-with-at", b"X@Y: value", "400"),
    ("header-name-utf8", "X-\u00fc: value".encode(), "400"),
    ("header-name-control", b"X\x02: value", "400"),
    ("header-name-delete", b"X\x7f: value", "400"),
    ("header-value-nul", b"X: a\0b", "400"),
    ("header-value-nul-only", b"X: \0", "400"),
    ("header-value-bare-cr", b"X: a\rb", "400"),
    ("header-value-cr-cr", b"X: a\r", "400"),
    ("header-value-bare-lf", b"X: a\nb", "400"),
    ("header-value-bare-lf-header", b"X: a\nTransfer-Encoding: chunked", "400"),
    ("header-value-control", b"X: a\x02b", "400"),
    ("header-value-escape", b"X: a\x1b[2J", "400"),
    ("header-value-delete", b"X: a\x7fb", "400"),
    ("header-nul-line", b"\0X: a", "400"),
    ("header-starts-with-cr", b"\rX: a", "400"),
    ("fold-space", b"X: a\r\n b", "400 lib"),
    ("fold-tab", b"X: a\r\n\tb", "400 lib"),
    ("fold-empty", b"X: a\r\n ", "400 lib"),
    ("fold-looks-like-header", b"X: a\r\n Transfer-Encoding: chunked", "400"),
    ("fold-makes-a-name", b"Transfer: chunked\r\n -Encoding", "400 lib"),
    ("fold-many", b"X: a" + b"\r\n b" * 40, "400 lib"),
    ("headers-65", b"\r\n".join(b"X%d: a" % i for i in range(65)), "431"),
    ("headers-1000", b"\r\n".join(b"X%d: a" % i for i in range(1000)), "431 lib"),
    ("header-value-7000-bytes", b"X: " + b"a" * 7000, "431"),
    ("header-value-20000-bytes", b"X: " + b"a" * 20000, "431 lib"),
    ("header-name-7000-bytes", b"a" * 7000 + b": a", "431"),
    ("header-name-20000-bytes", b"a" * 20000 + b": a", "431 lib"),
):
    case(name, post(header + b"\r\nContent-Length: 1\r\n", b"x"), *allowed)

case("fold-at-once", b"POST /logs/held HTTP/1.1\r\n Host: localhost\r\n\r\n", "400 lib")
case("header-endless", [b"POST /logs/held HTTP/1.1\r\nX: "] + [b"a" * 4096] * 4, "431 lib")
case("cookie-7000-bytes", sized(b"Cookie: a=" + b"b" * 7000 + b"\r\n"), "431 lib")
case("cookies-600", sized(b"Cookie: " + b"a=b;" * 600 + b"\r\n"), "closed")

# ---- where the body ends ----

for name, headers, *allowed in (
    ("length-twice-alike", b"Content-Length: 1\r\nContent-Length: 1", "400"),
    ("length-twice-differing", b"Content-Length: 1\r\nContent-Length: 2", "400"),
    ("length-twice-other-case", b"Content-Length: 1\r\ncontent-LENGTH: 1", "400"),
    ("length-list-alike", b"Content-Length: 1, 1", "400 lib"),
    ("length-list-differing", b"Content-Length: 1, 2", "400 lib"),
    ("length-plus", b"Content-Length: +1", "400 lib"),
    ("length-minus", b"Content-Length: -1", "400 lib"),
    ("length-hexadecimal", b"Content-Length: 0x1", "400 lib"),
    ("length-fraction", b"Content-Length: 1.0", "400 lib"),
    ("length-exponent", b"Content-Length: 1e0", "400 lib"),
    ("length-empty", b"Content-Length:", "400 lib"),
    ("length-quoted", b'Content-Length: "1"', "400 lib"),
    ("length-word", b"Content-Length: one", "400 lib"),
    ("length-then-space", b"Content-Length: 1 ", "400 lib"),
    ("length-inner-space", b"Content-Length: 0 1", "400 lib"),
    ("length-separator", b"Content-Length: 1_0", "400 lib"),
    ("length-then-nul", b"Content-Length: 1\0", "400 lib"),
    ("length-behind-vertical-tab", b"Content-Length: \x0b1", "400 lib"),
    ("length-arabic-digit", "Content-Length: \u0661".encode(), "400 lib"),
    ("length-20-digits", b"Content-Length: 00000000000000000001", "400"),
    ("length-2-63", b"Content-Length: 9223372036854775808", "413"),
    ("length-2-64", b"Content-Length: 18446744073709551616", "413 lib"),
    ("length-2-64-plus-1", b"Content-Length: 18446744073709551617", "413 lib"),
    ("length-100-digits", b"Content-Length: " + b"9" * 100, "413 lib"),
    ("length-beyond-record", b"Content-Length: 1048577", "413"),
    ("length-folded", b"Content-Length: 1\r\n 0", "400 lib"),
    ("length-space-before-colon", b"Content-Length : 1", "400"),
    ("length-zero", b"Content-Length: 0", "400"),
    ("coding-and-length", b"Transfer-Encoding: chunked\r\nContent-Length: 1", "400"),
    ("length-and-coding", b"Content-Length: 1\r\nTransfer-Encoding: chunked", "400"),
    ("coding-twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400"),
    ("coding-twice-other", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "400"),
    ("coding-list", b"Transfer-Encoding: chunked, chunked", "400"),
    ("coding-gzip-chunked", b"Transfer-Encoding: gzip, chunked", "400"),
    ("coding-chunked-gzip", b"Transfer-Encoding: chunked, gzip", "400"),
    ("coding-identity", b"Transfer-Encoding: identity", "400"),
    ("coding-gzip", b"Transfer-Encoding: gzip", "400"),
    ("coding-empty", b"Transfer-Encoding:", "400"),
    ("coding-unknown", b"Transfer-Encoding: xchunked", "400"),
    ("coding-quoted", b'Transfer-Encoding: "chunked"', "400"),
    ("coding-with-parameter", b"Transfer-Encoding: chunked;q=1", "400"),
    ("coding-with-comma", b"Transfer-Encoding: ,chunked", "400"),
    ("coding-then-space", b"Transfer-Encoding: chunked ", "400"),
    ("coding-then-nul", b"Transfer-Encoding: chunked\0", "400"),
    ("coding-cut-by-nul", b"Transfer-Encoding: chunked\0gzip", "400"),
    ("coding-vertical-tab", b"Transfer-Encoding: \x0bchunked", "400"),
    ("coding-folded", b"Transfer-Encoding:\r\n chunked", "400 lib"),
    ("coding-split-by-fold", b"Transfer-Encoding: chu\r\n nked", "400 lib"),
    ("coding-space-before-colon", b"Transfer-Encoding : chunked", "400"),
    ("coding-with-underscore", b"Transfer_Encoding: chunked", "400"),
    ("coding-behind-lf", b"X: a\nTransfer-Encoding: chunked", "400"),
    ("coding-behind-cr", b"X: a\rTransfer-Encoding: chunked", "400"),
):
    case(name, post(headers + b"\r\n", b"0\r\n\r\n" + HIDDEN), *allowed)

HTTP_1_0 = b"HTTP/1.0"
case("coding-in-1.0", post(CHUNKED, b"1\r\nx\r\n0\r\n\r\n", version=HTTP_1_0), "400")
case("length-in-1.0-twice", post(b"Content-Length: 1\r\n" * 2, b"x", version=HTTP_1_0), "400")
case("body-missing", post(), "400")
case("body-missing-1.0", post(version=HTTP_1_0), "400")
case("get-with-body", get(b"/logs", HOST + b"Content-Length: 5\r\n") + b"hello", "400")
case("get-with-chunks", get(b"/logs", HOST + CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n", "400")
case("delete-with-body", b"DELETE" + sized(b"")[4:], "400")
case("expect-and-too-large", post(b"Content-Length: 1048577\r\nExpect: 100-continue\r\n"), "413")
case("expect-and-bad-name", post(b"Content-Length: 1\r\nExpect: 100-continue\r\n", log=b"-"), "400")
case("expect-and-two-lengths", post(b"Content-Length: 1\r\n" * 2 + b"Expect: 100-continue\r\n"), "400")
case("expect-other", sized(b"Expect: something\r\n", b""), "any")
case("expect-twice", sized(b"Expect: 100-continue\r\nExpect: 100-continue\r\n"), "400")
case("expect-with-value", sized(b"Expect: 100-continue=1\r\n", b""), "any")
case("upgrade-websocket", get(b"/logs/ghost", HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                              b"Sec-WebSocket-Version: 13\r\n"), "404", "405")

# ---- chunks ----

for name, body, *allowed in (
    ("chunk-size-missing", b"\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-word", b"one\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-minus", b"-1\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-plus", b"+1\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-0x", b"0x1\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-space-before", b" 1\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-space-behind", b"1 \r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-tab-behind", b"1\t\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-nul", b"1\0\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-comma", b"1,1\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-fraction", b"1.0\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-underscore", b"1_0\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-16-digits", b"0000000000000001\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-size-2-64", b"10000000000000001\r\nx\r\n0\r\n\r\n", "400 lib", "413 lib"),
    ("chunk-size-all-ones", b"ffffffffffffffff\r\nx\r\n0\r\n\r\n", "400 lib", "413 lib"),
    ("chunk-size-2-60-less-1", b"fffffffffffffff\r\n" + b"x" * 100, "closed"),
    ("chunk-size-1000-digits", b"0" * 1000 + b"1\r\nx\r\n0\r\n\r\n", "400 lib", "closed"),
    ("chunk-size-bare-lf", b"1\nx\r\n0\r\n\r\n", "400 lib", "closed"),
    ("chunk-size-bare-cr", b"1\rx\r\n0\r\n\r\n", "400 lib", "closed"),
    ("chunk-size-cr-cr-lf", b"1\r\r\nx\r\n0\r\n\r\n", "400 lib", "closed"),
    ("chunk-size-lf-cr", b"1\n\rx\r\n0\r\n\r\n", "400 lib", "closed"),
    ("chunk-size-nul-lf", b"1\0\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-longer-than-size", b"1\r\nxy\r\n0\r\n\r\n", "400 lib", "closed"),
    ("chunk-shorter-than-size", b"9\r\nx\r\n0\r\n\r\nz" + HIDDEN, "400 lib", "closed"),
    ("chunk-end-missing", b"1\r\nx0\r\n\r\n", "400 lib", "closed"),
    ("chunk-end-bare-lf", b"1\r\nx\n0\r\n\r\n", "400 lib", "closed"),
    ("chunk-end-bare-cr", b"1\r\nx\r0\r\n\r\n", "400 lib", "closed"),
    ("chunk-end-lf-cr", b"1\r\nx\n\r0\r\n\r\n", "400 lib", "closed"),
    ("chunk-end-two-cr", b"1\r\nx\r\r\n0\r\n\r\n", "400 lib", "closed"),
    ("chunk-end-other-two-bytes", b"1\r\nxxx0\r\n\r\n", "400 lib", "closed"),
    ("chunk-extension-nul", b"1;a\0b\r\nx\r\n0\r\n\r\n", "closed"),
    ("chunk-extension-bare-lf", b"1;a\nx\r\n0\r\n\r\n", "closed"),
    ("chunk-extension-bare-cr", b"1;a\rb\r\nx\r\n0\r\n\r\n", "closed"),
    ("chunk-extension-control", b"1;a\x02\r\nx\r\n0\r\n\r\n", "closed"),
    ("chunk-extension-hides-chunk", b"1;\n0\r\nx\r\n0\r\n\r\n" + HIDDEN, "closed"),
    ("chunk-extension-space-first", b"1 ;a=b\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-extension-257-bytes", b"1;" + b"a" * 257 + b"\r\nx\r\n0\r\n\r\n", "closed"),
    ("chunk-extension-100000-bytes", b"1;" + b"a" * 100000 + b"\r\nx\r\n0\r\n\r\n", "closed"),
    ("chunk-extension-without-size", b";a\r\nx\r\n0\r\n\r\n", "400 lib"),
    ("chunk-extension-at-last", b"1\r\nx\r\n0;\n\r\n\r\n" + HIDDEN, "closed"),
    ("chunk-last-bare-lf", b"1\r\nx\r\n0\n\r\n" + HIDDEN, "400 lib", "closed"),
    ("chunk-last-end-bare-lf", b"1\r\nx\r\n0\r\n\n" + HIDDEN, "closed", "400 lib"),
    ("chunk-last-end-bare-cr", b"1\r\nx\r\n0\r\n\rX" + HIDDEN, "closed", "400 lib"),
    ("chunk-last-minus", b"1\r\nx\r\n-0\r\n\r\n" + HIDDEN, "400 lib"),
    ("chunk-last-word", b"1\r\nx\r\nend\r\n\r\n" + HIDDEN, "400 lib"),
    ("chunks-none", b"0\r\n\r\n", "400"),
    ("trailer-without-colon", b"1\r\nx\r\n0\r\nX\r\n\r\n", "closed"),
    ("trailer-without-name", b"1\r\nx\r\n0\r\n: a\r\n\r\n", "closed", "400 lib"),
    ("trailer-folded", b"1\r\nx\r\n0\r\nX: a\r\n b\r\n\r\n", "closed"),
    ("trailer-fold-at-once", b"1\r\nx\r\n0\r\n X: a\r\n\r\n", "closed"),
    ("trailer-nul", b"1\r\nx\r\n0\r\nX: a\0\r\n\r\n", "closed"),
    ("trailer-nul-line", b"1\r\nx\r\n0\r\n\0X: a\r\n" + HIDDEN, "closed"),
    ("trailer-bare-lf", b"1\r\nx\r\n0\r\nX: a\n\n" + HIDDEN, "closed"),
    ("trailer-bare-cr", b"1\r\nx\r\n0\r\nX: a\rb\r\n\r\n", "closed"),
    ("trailer-control", b"1\r\nx\r\n0\r\nX: a\x02\r\n\r\n", "closed"),
    ("trailer-20000-bytes", b"1\r\nx\r\n0\r\nX: " + b"a" * 20000 + b"\r\n\r\n", "431 lib"),
    ("trailer-request-line", b"1\r\nx\r\n0\r\n" + HIDDEN, "closed"),
    ("trailer-name-with-space", b"1\r\nx\r\n0\r\nX y: a\r\n\r\n", "closed"),
    ("trailer-name-with-nul", b"1\r\nx\r\n0\r\nX\0: a\r\n\r\n", "closed"),
):
    case(name, chunks(body), *allowed, ends=name in ("chunk-size-2-60-less-1",))

case("chunk-beyond-record", [chunks(b"100001\r\n" + b"x" * 0x100001 + b"\r\n0\r\n\r\n")], "413")
case("chunks-beyond-record", [chunks(b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\nff\r\n" + b"x" * 0xFF +
                                     b"\r\n0\r\n\r\n")], "413")
case("chunk-size-in-pieces", [chunks(b"1"), b"\n", b"x\r\n0\r\n\r\n"], "400 lib", "closed")
case("chunk-end-in-pieces", [chunks(b"1\r\nx\r"), b"x\r\n0\r\n\r\n"], "400 lib", "closed")

# ---- Host and where the request comes from ----

for name, headers, *allowed in (
    ("host-missing", b"", "400 lib"),
    ("host-twice", HOST + HOST, "400"),
    ("host-twice-differing", HOST + b"Host: example.com\r\n", "400"),
    ("host-empty", b"Host:\r\n", "400"),
    ("host-space", b"Host: local host\r\n", "400"),
    ("host-list", b"Host: localhost, localhost\r\n", "400"),
    ("host-user", b"Host: user@localhost\r\n", "400"),
    ("host-path", b"Host: localhost/logs\r\n", "400"),
    ("host-url", b"Host: http://localhost\r\n", "400"),
    ("host-percent", b"Host: local%68ost\r\n", "400"),
    ("host-nul", b"Host: localhost\0.example.com\r\n", "400"),
    ("host-utf8", "Host: l\u00f6calhost\r\n".encode(), "400"),
    ("host-foreign", b"Host: example.com\r\n", "421"),
    ("host-prefix", b"Host: localhost.example.com\r\n", "421"),
    ("host-address-prefix", b"Host: 127.0.0.1.example.com\r\n", "421"),
    ("host-port-word", b"Host: localhost:http\r\n", "400"),
    ("host-two-ports", b"Host: localhost:80:80\r\n", "400"),
    ("host-behind-bracket", b"Host: [::1]x\r\n", "400"),
    ("host-bracket-open", b"Host: [::1\r\n", "400"),
    ("host-other-loopback-name", b"Host: localhost6\r\n", "421"),
    ("host-no-address", b"Host: 127.1.2\r\n", "421"),
    ("host-digits-and-dots", b"Host: 127......\r\n", "421"),
    ("host-folded", b"Host:\r\n localhost\r\n", "400 lib"),
    ("host-space-before-colon", b"Host : localhost\r\n", "400 lib"),
    ("origin-foreign", HOST + b"Origin: http://example.com\r\n", "403"),
    ("origin-null", HOST + b"Origin: null\r\n", "403"),
    ("origin-other-port", HOST + b"Origin: http://localhost:1\r\n", "403"),
    ("origin-empty", HOST + b"Origin:\r\n", "403"),
    ("origin-two", HOST + b"Origin: http://localhost\r\nOrigin: http://localhost\r\n", "400"),
    ("fetch-cross-site", HOST + b"Sec-Fetch-Site: cross-site\r\n", "403"),
    ("fetch-same-site", HOST + b"Sec-Fetch-Site: same-site\r\n", "403"),
):
    case(name, b"POST /logs/held HTTP/1.1\r\n" + headers + b"Content-Length: 1\r\n\r\nx", *allowed)

# ---- names and paths ----

for name, path, *allowed in (
    ("name-empty", b"", "400"),
    ("name-dot", b".", "400"),
    ("name-dots", b"..", "400"),
    ("name-hidden-file", b".held", "400"),
    ("name-dash-first", b"-held", "400"),
    ("name-underscore-first", b"_held", "400"),
    ("name-of-the-protocol", b"__ds", "400"),
    ("name-129-bytes", b"a" * 129, "400"),
    ("name-colon", b"a:b", "400"),
    ("name-star", b"a*", "400"),
    ("name-tilde", b"~root", "400"),
    ("name-quote", b"a'b", "400"),
    ("name-semicolon", b"held;a=b", "400"),
    ("name-plus", b"a+b", "400"),
    ("name-percent-slash", b"..%2f..%2fetc", "400"),
    ("name-percent-slash-upper", b"a%2Fb", "400"),
    ("name-percent-dots", b"%2e%2e", "400"),
    ("name-percent-nul", b"held%00", "400"),
    ("name-percent-letter", b"%68eld", "400"),
    ("name-percent-twice", b"%252e%252e", "400"),
    ("name-percent-overlong", b"%c0%ae%c0%ae", "400"),
    ("name-percent-broken", b"held%", "400"),
    ("path-up", b"../logs/held", "404"),
    ("path-up-and-out", b"../../../../etc/passwd", "404"),
    ("path-up-at-end", b"held/..", "404"),
    ("path-dot", b"./held", "404"),
    ("path-double-slash", b"/held", "404"),
    ("path-trailing-slash", b"held/", "404"),
    ("path-backslash", b"..\\held", "400"),
    ("path-deep", b"/".join([b"a"] * 200), "404"),
    ("path-slashes", b"/" * 900, "404"),
):
    case(name, sized(b"", log=path), *allowed)

case("path-root", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx", "404")
case("path-other-case", b"POST /Logs/held HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx", "404")
case("path-double-slash-first", b"POST //logs/held HTTP/1.1\r\n" + HOST +
     b"Content-Length: 1\r\n\r\nx", "404")
for name, offset in (
    ("minus", b"-1"), ("plus", b"+1"), ("leading-zero", b"01"), ("hexadecimal", b"0x1"),
    ("2-64", b"18446744073709551616"), ("100-digits", b"9" * 100), ("word", b"first"),
    ("empty", b""), ("fraction", b"1.5"), ("exponent", b"1e1"),
):
    case("offset-" + name, get(b"/logs/held/records/" + offset), "400")
case("offset-beyond", get(b"/logs/held/records/18446744073709551615"), "404")

# ---- parameters ----

for name, target in (
    ("unknown", b"/logs?order=asc"),
    ("twice", b"/logs?limit=1&limit=1"),
    ("many", b"/logs?" + b"&".join([b"a=1"] * 50)),
    ("empty-name", b"/logs?=1"),
    ("separator-only", b"/logs?&"),
    ("question-mark-twice", b"/logs??limit=1"),
    ("other-case", b"/logs?LIMIT=1"),
    ("percent-name", b"/logs?%6cimit=1"),
    ("percent-value", b"/logs?limit=%31"),
    ("limit-zero", b"/logs?limit=0"),
    ("limit-minus", b"/logs?limit=-1"),
    ("limit-empty", b"/logs?limit="),
    ("limit-word", b"/logs?limit=all"),
    ("limit-too-high", b"/logs?limit=10001"),
    ("limit-2-64-plus-1", b"/logs?limit=18446744073709551617"),
    ("limit-leading-zero", b"/logs?limit=01"),
    ("limit-plus", b"/logs?limit=+1"),
    ("limit-with-semicolon", b"/logs?limit=1;after=a"),
    ("records-offset-word", b"/logs/held/records?offset=first"),
    ("records-offset-empty", b"/logs/held/records?offset="),
    ("records-offset-minus-zero", b"/logs/held/records?offset=-0"),
    ("records-offset-two-minus", b"/logs/held/records?offset=--1"),
    ("records-offset-2-64", b"/logs/held/records?offset=18446744073709551616"),
    ("records-limit-zero", b"/logs/held/records?limit=0"),
    ("records-unknown", b"/logs/held/records?from=1"),
    ("records-time-word", b"/logs/held/records?at=yesterday"),
    ("records-wait-word", b"/logs/held/records?wait=long"),
    ("records-max-bytes-word", b"/logs/held/records?max_bytes=1k"),
    ("records-encoding-word", b"/logs/held/records?encoding=rot13"),
    ("offsets-wait-word", b"/logs/held/offsets?wait_for=x"),
    ("offsets-timeout-word", b"/logs/held/offsets?wait_for=0&timeout=x"),
    ("offsets-timeout-minus", b"/logs/held/offsets?wait_for=0&timeout=-1s"),
    ("stats-unknown", b"/stats?a=b"),
    ("livez-unknown", b"/livez?a=b"),
):
    case("parameter-" + name, get(target), "400")
for name, query in (
    ("unknown", b"a=b"), ("ack-word", b"ack=later"), ("ack-empty", b"ack="),
    ("ack-twice", b"ack=committed&ack=none"), ("offset", b"offset=0"),
):
    case("append-parameter-" + name,
         b"POST /logs/held?" + query + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx", "400")
for name, target in (
    ("trim-without-offset", b"/logs/held/trim"), ("trim-word", b"/logs/held/trim?before=x"),
    ("trim-minus", b"/logs/held/trim?before=-1"),
    ("trim-2-64", b"/logs/held/trim?before=18446744073709551616"),
    ("trim-missing-log", b"/logs/ghost/trim?before=1"), ("sync-missing-log", b"/logs/ghost/sync"),
    ("sync-unknown-parameter", b"/logs/held/sync?a=b"),
):
    case(name, b"POST " + target + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n", "any")

# ---- values of headers that an append acts on ----

for name, headers, *allowed in (
    ("if-match-word", b"If-Match: 3", "any"),
    ("if-match-open-quote", b'If-Match: "3', "any"),
    ("if-match-far", b'If-Match: "999"', "any"),
    ("if-match-2-64", b'If-Match: "18446744073709551616"', "any"),
    ("if-match-empty", b"If-Match:", "any"),
    ("if-match-foreign-log", b'If-Match: "00000000000000000000000000000000-3"', "any"),
    ("if-match-twice", b'If-Match: "3"\r\nIf-Match: "3"', "400"),
    ("if-none-match-any", b"If-None-Match: *", "any"),
    ("if-unmodified-since", b"If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "any"),
    ("producer-id-alone", b"Producer-Id: a", "any"),
    ("producer-epoch-alone", b"Producer-Epoch: 1", "any"),
    ("producer-seq-alone", b"Producer-Seq: 0", "any"),
    ("producer-id-empty", b"Producer-Id:\r\nProducer-Epoch: 0\r\nProducer-Seq: 0", "any"),
    ("producer-id-huge", b"Producer-Id: " + b"a" * 3000 +
     b"\r\nProducer-Epoch: 0\r\nProducer-Seq: 0", "any"),
    ("producer-epoch-word", b"Producer-Id: a\r\nProducer-Epoch: x\r\nProducer-Seq: 0", "any"),
    ("producer-epoch-minus", b"Producer-Id: a\r\nProducer-Epoch: -1\r\nProducer-Seq: 0", "any"),
    ("producer-epoch-2-64", b"Producer-Id: a\r\nProducer-Epoch: 18446744073709551616\r\n"
     b"Producer-Seq: 0", "any"),
    ("producer-seq-word", b"Producer-Id: a\r\nProducer-Epoch: 0\r\nProducer-Seq: x", "any"),
    ("producer-seq-minus", b"Producer-Id: a\r\nProducer-Epoch: 0\r\nProducer-Seq: -1", "any"),
    ("producer-seq-hexadecimal", b"Producer-Id: a\r\nProducer-Epoch: 0\r\nProducer-Seq: 0x0", "any"),
    ("producer-seq-2-64", b"Producer-Id: a\r\nProducer-Epoch: 0\r\n"
     b"Producer-Seq: 18446744073709551616", "any"),
    ("producer-seq-gap", b"Producer-Id: a\r\nProducer-Epoch: 0\r\nProducer-Seq: 7", "any"),
    ("producer-id-twice", b"Producer-Id: a\r\nProducer-Id: a\r\nProducer-Epoch: 0\r\n"
     b"Producer-Seq: 0", "400"),
    ("idempotency-key-empty", b"Idempotency-Key:", "any"),
    ("idempotency-key-huge", b"Idempotency-Key: " + b"a" * 3000, "any"),
    ("idempotency-key-twice", b"Idempotency-Key: a\r\nIdempotency-Key: b", "400"),
    ("content-encoding-br", b"Content-Encoding: br", "any"),
    ("content-encoding-list", b"Content-Encoding: gzip, gzip", "any"),
    ("content-encoding-gzip-no-gzip", b"Content-Encoding: gzip", "any"),
    ("content-encoding-twice", b"Content-Encoding: identity\r\nContent-Encoding: identity", "400"),
    ("content-encoding-empty", b"Content-Encoding:", "any"),
    ("content-type-twice", b"Content-Type: text/plain\r\nContent-Type: text/plain", "400"),
):
    case("append-" + name, sized(headers + b"\r\n"), *allowed)

GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"
for name, body in (
    ("head-alone", GZIP_HEAD), ("cut", GZIP_HEAD + b"\xcb\x48"), ("magic-alone", b"\x1f\x8b"),
    ("damaged", GZIP_HEAD + b"\xff" * 40),
    ("wrong-sum", GZIP_HEAD + b"\x4b\x04\x00" + b"\0\0\0\0" + b"\x01\0\0\0"),
    ("empty", GZIP_HEAD + b"\x03\x00" + b"\0" * 8),
):
    case("gzip-" + name, sized(b"Content-Encoding: gzip\r\n", body), "any")

NDJSON = b"Content-Type: application/x-ndjson\r\n"
case("ndjson-empty-lines", sized(NDJSON, b"\n\n\n"), "any")
case("ndjson-65537-lines", [sized(NDJSON, b"x\n" * 65537)], "any")
case("ndjson-line-too-long", [sized(NDJSON, b"x\n" + b"y" * 1048577 + b"\n")], "any")
case("ndjson-announced-too-large", post(NDJSON + b"Content-Length: 16777217\r\n"), "any")

# Range and the like ask for records; whatever is answered, nothing is written and nothing breaks.
for name, value in (
    ("unit", b"records=0-1"), ("word", b"bytes=a-b"), ("reversed", b"bytes=2-1"),
    ("far", b"bytes=999-1000"), ("2-64", b"bytes=18446744073709551616-"), ("minus-zero", b"bytes=-0"),
    ("many", b"bytes=" + b",".join([b"0-0"] * 500)), ("empty", b""), ("open", b"bytes="),
    ("no-dash", b"bytes=1"),
):
    case("range-" + name, get(b"/logs/held/records/0", HOST + b"Range: " + value + b"\r\n"),
         "200", "206", "any")
case("range-twice", get(b"/logs/held/records/0", HOST + b"Range: bytes=0-0\r\n" * 2), "400")
for name, value in (("empty", b""), ("none", b"image/png"), ("open", b"application/json;q="),
                    ("commas", b"," * 500), ("q-word", b"*/*;q=x")):
    case("accept-" + name, get(b"/logs/held/records", HOST + b"Accept: " + value + b"\r\n"),
         "200", "any")

# ---- JSON ----

def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


for name, body in (
    ("word", b"hello"), ("array", b"[]"), ("string", b'"durability"'), ("number", b"1"),
    ("null", b"null"), ("true", b"true"), ("open", b"{"), ("open-string", b'{"durability":"comm'),
    ("comma-last", b'{"durability":"committed",}'), ("comma-first", b"{,}"), ("colon", b"{:}"),
    ("two", b"{}{}"), ("junk-behind", b"{} x"), ("nul-behind", b"{}\0"), ("comment", b"{}//a"),
    ("bom", b"\xef\xbb\xbf{}"), ("utf16", '{"a":1}'.encode("utf-16")),
    ("single-quotes", b"{'durability':'committed'}"), ("unquoted", b"{durability:1}"),
    ("unknown-member", b'{"colour":"red"}'), ("member-twice",
                                              b'{"durability":"none","durability":"committed"}'),
    ("type-number", b'{"durability":1}'), ("type-null", b'{"durability":null}'),
    ("type-array", b'{"durability":["committed"]}'), ("type-object", b'{"durability":{}}'),
    ("type-bool", b'{"durability":true}'), ("value-unknown", b'{"durability":"most"}'),
    ("value-other-case", b'{"durability":"COMMITTED"}'), ("value-empty", b'{"durability":""}'),
    ("value-escaped-nul", b'{"durability":"committed\\u0000"}'),
    ("value-raw-nul", b'{"durability":"committed\0"}'),
    ("value-control", b'{"durability":"comm\x02itted"}'),
    ("value-lone-surrogate", b'{"durability":"\\ud800"}'),
    ("value-bad-escape", b'{"durability":"\\x41"}'),
    ("value-bad-utf8", b'{"durability":"\xff"}'), ("value-overlong", b'{"durability":"\xc0\xaf"}'),
    ("value-utf8-surrogate", b'{"durability":"\xed\xa0\x80"}'),
    ("value-beyond-unicode", b'{"durability":"\xf4\x90\x80\x80"}'),
    ("value-cut-utf8", b'{"durability":"\xe2\x82"}'), ("name-bad-utf8", b'{"\xff":1}'),
    ("name-escaped-nul", b'{"durability\\u0000":"committed"}'),
    ("number-2-63", b'{"retention":9223372036854775808}'),
    ("number-2-64", b'{"retention":18446744073709551616}'),
    ("number-1e999", b'{"retention":1e999}'), ("number-1000-digits",
                                               b'{"retention":' + b"9" * 1000 + b"}"),
    ("number-leading-zero", b'{"retention":01}'), ("number-plus", b'{"retention":+1}'),
    ("number-nan", b'{"retention":NaN}'), ("number-infinity", b'{"retention":Infinity}'),
    ("number-hexadecimal", b'{"retention":0x10}'), ("number-point", b'{"retention":1.}'),
    ("deep-objects-100", nested(100)), ("deep-objects-5000", nested(5000)),
    ("deep-arrays-60000", b"[" * 60000), ("deep-in-member", b'{"durability":' + b"[" * 3000),
    ("many-members", b"{" + b",".join(b'"%d":0' % i for i in range(5000)) + b"}"),
    ("too-large", b'{"a":"' + b"x" * 65536 + b'"}'),
):
    for log in (b"ghost", b"held"):
        case(f"json-{name}-{log.decode()}", b"PUT" + sized(b"", body, log)[4:], "any", needs="PUT")

# ---- several requests, and less than one ----

case("pipelined-garbage", LIVE + b"garbage\r\n\r\n", "200,400 lib", "200,closed")
case("pipelined-binary", LIVE + b"\xff\xfe\0\0\r\n\r\n", "200,400", "200,400 lib", "200,closed")
case("pipelined-http-0.9", LIVE + b"GET /livez\r\n", "200,400 lib")
case("pipelined-behind-nul-line", LIVE + b"\0\r\n" + HIDDEN, "200,closed", "200,400 lib")
case("pipelined-behind-nul-lf-line", LIVE + b"\0\n" + HIDDEN, "200,400")
case("pipelined-behind-space", LIVE + b" " + HIDDEN, "200,400", "200,closed")
case("pipelined-behind-bad-length", post(b"Content-Length: x\r\n") + HIDDEN, "400", "400 lib")
case("pipelined-behind-bad-host", get(b"/livez", b"Host: a\r\n") + HIDDEN, "421")
case("pipelined-behind-bad-version", b"GET /livez HTTP/1.2\r\n" + HOST + b"\r\n" + HIDDEN, "400")
case("pipelined-behind-bad-chunk", chunks(b"1\r\nxx\r\n0\r\n\r\n") + HIDDEN, "400 lib", "closed")
case("pipelined-behind-close", get(b"/livez", HOST + b"Connection: close\r\n") + HIDDEN, "200")
case("pipelined-behind-1.0", b"GET /livez HTTP/1.0\r\n\r\n" + HIDDEN, "200")
case("pipelined-behind-two-large", post(b"Content-Length: 1048577\r\n") + HIDDEN, "413")

WHOLE = sized(b"", b"cut off")
for size in (1, 4, 5, 12, 17, 25, 26, 27, 40, 46, 60, 61, 62, 63, 64, 65, len(WHOLE) - 1):
    case(f"cut-after-{size}", WHOLE[:size], "closed", ends=True)
CUT_CHUNKS = chunks(b"7;a=b\r\ncut off\r\n0\r\nX: y\r\n\r\n")
HEAD_BYTES = len(chunks(b""))
for size in (0, 1, 2, 5, 6, 7, 10, 14, 15, 16, 17, 18, 19, 21, 25):
    case(f"cut-chunks-after-{size}", CUT_CHUNKS[:HEAD_BYTES + size], "closed", ends=True)
case("nothing", b"", "closed", ends=True)
case("empty-lines", b"\r\n" * 1000, "closed", ends=True)
