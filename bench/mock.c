/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mock.c - a provider that costs next to nothing: small JSON answers, and streams of tokens at a
 * fixed gap, each carrying the time at which it was sent. It reads no more of a request than it
 * must ("stream":true, "max_tokens"), and speaks WebSocket as well, for gateways that pass that through: a
 * message starts a stream, a frame for each token.
 *
 *	mock GAP_MS TOKENS	so many tokens where a request does not say
 */
#include "wire.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/timerfd.h>

#define REQUEST_MAX 65536
#define RING 1024 /* ms; a gap is shorter */

#define CHUNK(content, finish)                                                                  \
	"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","  \
	"\"choices\":[{\"index\":0,\"delta\":{" content "},\"finish_reason\":" finish "}]}\n\n"
#define TOKEN CHUNK("\"content\":\"%016" PRIx64 "\"", "null")
#define END CHUNK("", "\"stop\"") "data: [DONE]\n\n"
#define WS_TOKEN "{\"request_id\":\"r\",\"status\":\"chunk\",\"chunk\":{\"type\":\"text\",\"data\":\"%016" PRIx64 "\",\"metadata\":{}}}"
#define WS_END "{\"request_id\":\"r\",\"status\":\"complete\",\"chunk\":{}}"
#define ANSWER                                                                                  \
	"{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"bench\",\"choices\":[{\"index\":0,"    \
	"\"message\":{\"role\":\"assistant\",\"content\":\"hello\"},\"finish_reason\":\"stop\"}],"                           \
	"\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}"

struct client {
	int fd;
	size_t len;
	char *request; /* what is here of it */
	unsigned left; /* tokens to send */
	bool websocket, streaming;
	struct client *next, **at; /* in the ring, while it streams */
};

static int epoll;
static unsigned gap_ms, tokens, tick;
static struct client *ring[RING];

static void ring_leave(struct client *c)
{
	if (!c->at)
		return;
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	c->at = NULL;
}

static void ring_enter(struct client *c, unsigned in_ms)
{
	struct client **head = &ring[(tick + in_ms) % RING];

	c->next = *head;
	c->at = head;
	if (c->next)
		c->next->at = &c->next;
	*head = c;
}

static void end(struct client *c)
{
	ring_leave(c);
	close(c->fd);
	free(c->request);
	free(c);
}

/* What does not fit into the socket is lost: a benchmark's readers keep up, or are told that they did not. */
static void put(struct client *c, const char *bytes, size_t len)
{
	ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);

	if (n != (ssize_t)len && (n >= 0 || errno == EAGAIN))
		fprintf(stderr, "mock: a reader does not keep up\n");
}

static void put_chunk(struct client *c, const char *text, size_t len, bool last)
{
	char out[1024];
	int n = snprintf(out, sizeof(out), "%zx\r\n%.*s\r\n%s", len, (int)len, text, last ? "0\r\n\r\n" : "");

	put(c, out, (size_t)n);
}

static void put_frame(struct client *c, const char *text, size_t len)
{
	char out[1024];
	size_t head = len < 126 ? 2 : 4;

	out[0] = (char)0x81;
	out[1] = (char)(len < 126 ? len : 126);
	if (head == 4) {
		out[2] = (char)(len >> 8);
		out[3] = (char)len;
	}
	memcpy(out + head, text, len);
	put(c, out, head + len);
}

static void send_token(struct client *c)
{
	char text[512];
	int n;

	if (c->left--) {
		n = snprintf(text, sizeof(text), c->websocket ? WS_TOKEN : TOKEN, now_ns());
		if (c->websocket)
			put_frame(c, text, (size_t)n);
		else
			put_chunk(c, text, (size_t)n, false);
		ring_enter(c, gap_ms);
		return;
	}
	if (c->websocket)
		put_frame(c, WS_END, sizeof(WS_END) - 1);
	else
		put_chunk(c, END, sizeof(END) - 1, true);
	c->streaming = false;
}

static unsigned number_after(const char *text, const char *name, unsigned otherwise)
{
	const char *at = strstr(text, name);

	return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : otherwise;
}

static void start_stream(struct client *c, const char *body)
{
	c->left = number_after(body, "max_tokens\":", tokens);
	c->streaming = true;
	/*
	 * At a moment of its own, as in life. Else streams whose requests come close together stay together: they cost less, and whose
	 * requests a gateway spreads out would pay for it with every token.
	 */
	ring_enter(c, 1 + (unsigned)random() % gap_ms);
}

static void accept_websocket(struct client *c)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	const char *key = strcasestr(c->request, "sec-websocket-key: ");
	unsigned char hash[SHA_DIGEST_LENGTH], text[64];
	char out[256], both[128];
	int n;

	if (!key)
		return;
	n = snprintf(both, sizeof(both), "%.24s%s", key + 19, guid);
	SHA1((unsigned char *)both, (size_t)n, hash);
	EVP_EncodeBlock(text, hash, sizeof(hash));
	n = snprintf(out, sizeof(out),
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: %s\r\n\r\n", text);
	put(c, out, (size_t)n);
	c->websocket = true;
	c->len = 0;
}

/* A whole request is here. */
static void answer(struct client *c, const char *body)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
				   "Transfer-Encoding: chunked\r\n\r\n";
	char out[1024];
	int n;

	if (strstr(body, "\"stream\":true")) {
		put(c, head, sizeof(head) - 1);
		start_stream(c, body);
		return;
	}
	n = snprintf(out, sizeof(out), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		sizeof(ANSWER) - 1, ANSWER);
	put(c, out, (size_t)n);
}

static void read_request(struct client *c)
{
	char *body = strstr(c->request, "\r\n\r\n"), *length;
	size_t want;

	if (!body)
		return;
	if (strcasestr(c->request, "upgrade: websocket")) {
		accept_websocket(c);
		return;
	}
	body += 4;
	length = strcasestr(c->request, "content-length: ");
	want = length && length < body ? strtoul(length + 16, NULL, 10) : 0;
	if (c->len < (size_t)(body - c->request) + want)
		return;
	answer(c, body);
	c->len = 0;
}

/* A client's message in one frame: unmask it, and start. A close ends the connection. */
static void read_frame(struct client *c)
{
	unsigned char *f = (unsigned char *)c->request;
	size_t len, head = 6;

	if (c->len < head)
		return;
	if ((f[0] & 15) == 8) {
		shutdown(c->fd, SHUT_RDWR);
		return;
	}
	len = f[1] & 127;
	if (len == 126) {
		len = (size_t)f[2] << 8 | f[3];
		head = 8;
	}
	if (c->len < head + len)
		return;
	for (size_t i = 0; i < len; i++)
		f[head + i] ^= f[head - 4 + i % 4];
	f[head + len] = 0;
	c->len = 0;
	if ((f[0] & 15) == 1)
		start_stream(c, c->request + head);
}

static void hear(struct client *c)
{
	ssize_t n;

	if (!c->request)
		c->request = must(malloc(REQUEST_MAX));
	n = recv(c->fd, c->request + c->len, REQUEST_MAX - 1 - c->len, 0);
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			end(c);
		return;
	}
	c->len += (size_t)n;
	c->request[c->len] = 0;
	if (c->websocket)
		read_frame(c);
	else
		read_request(c);
	if (!c->len) {
		free(c->request);
		c->request = NULL;
	}
}

static void take_in(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *c = must(calloc(1, sizeof(*c)));

		no_delay(fd);
		c->fd = fd;
		watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
	}
}

/* All that became due since the last time. */
static void turn_ring(int timer)
{
	uint64_t expirations;

	if (read(timer, &expirations, sizeof(expirations)) < 0)
		return;
	while (expirations--) {
		struct client *due = ring[++tick % RING], *next;

		ring[tick % RING] = NULL;
		for (; due; due = next) {
			next = due->next;
			due->at = NULL;
			send_token(due);
		}
	}
}

int main(int argc, char **argv)
{
	const struct itimerspec every_ms = { { 0, 1000000 }, { 0, 1000000 } };
	int listener, timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	static struct client clock_mark, door_mark;
	struct epoll_event ready[256];

	gap_ms = argc == 3 ? (unsigned)atoi(argv[1]) : 0;
	tokens = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	if (!gap_ms || gap_ms >= RING || !tokens) {
		fprintf(stderr, "usage: mock GAP_MS (1..%d) TOKENS\n", RING - 1);
		return 2;
	}
	many_descriptors();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	listener = listen_anywhere();
	timerfd_settime(timer, 0, &every_ms, NULL);
	watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &door_mark);
	watch(epoll, EPOLL_CTL_ADD, timer, EPOLLIN, &clock_mark);
	for (;;) {
		int n = epoll_wait(epoll, ready, 256, -1);

		for (int i = 0; i < n; i++)
			if (ready[i].data.ptr == &door_mark)
				take_in(listener);
			else if (ready[i].data.ptr == &clock_mark)
				turn_ring(timer);
			else
				hear(ready[i].data.ptr);
	}
}
