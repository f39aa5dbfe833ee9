/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c - clients for a benchmark, many in one process.
 *
 *	load MODE PORT COUNT AMOUNT [ADDRESS]		ADDRESS of loopback: where they come from
 *
 *	load json PORT CONNECTIONS SECONDS		small requests, each connection one after the other
 *	load sse PORT STREAMS TOKENS			that many streams at once, each of so many tokens
 *	load ws PORT SOCKETS TOKENS			the same as chats over WebSocket
 *	load setup PORT AT_ONCE SECONDS			WebSockets that are set up and closed again
 *	load crowd PORT SOCKETS 0			so many WebSockets at once: who is let in, who is refused when?
 *	load idle-ws PORT SOCKETS 0			set up, then held until the end of standard input
 *	load idle-http PORT CONNECTIONS 0		the same with a chat each, kept alive
 *	load idle-live PORT CONNECTIONS 0		the same with a GET /health/live each
 *	load open-sse PORT STREAMS TOKENS		streams, held; a line on standard input: what was measured before does not count
 *	load visits PORT SOCKETS RATE			so many a second are set up and closed again, until all have been there
 *
 * Prints "ready" where something is held, and at the end one line of JSON. Tokens of mock.c carry the
 * time at which they were sent; latencies are from there to here.
 */
#include "wire.h"

#define READ_BYTES 65536
#define TAIL_BYTES 64 /* of a read that may hold the beginning of a token */

#define BODY_JSON "{\"model\":\"bench\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"
#define BODY_SSE "{\"model\":\"bench\",\"stream\":true,\"max_tokens\":%u,\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"
/* The number of tokens is for a mock behind a gateway that passes WebSockets through. */
#define CHAT "{\"action\":\"chat\",\"request_id\":\"r\",\"payload\":{\"text\":\"hello\",\"metadata\":{\"max_tokens\":%u}}}"

enum mode { JSON, SSE, WS, SETUP, CROWD, IDLE_WS, IDLE_HTTP, IDLE_LIVE, OPEN_SSE, VISITS, MODES };
static const char *const mode_names[MODES] = { "json", "sse", "ws", "setup", "crowd", "idle-ws", "idle-http", "idle-live",
	"open-sse", "visits" };

enum step { CONNECTING, UPGRADING, RUNNING, OVER };

struct client {
	int fd;
	enum step step;
	uint64_t asked_ns;
	unsigned tokens; /* of the request that runs */
	unsigned ntail;
	bool shut;	 /* we closed our side */
	char tail[TAIL_BYTES];
};

static enum mode mode;
static int epoll, port;
static const char *from;
static unsigned count, amount;
static uint64_t until_ns;
static struct client *clients;
static unsigned over, ready_ones;
static uint64_t requests, tokens, errors, admitted, refused;
static struct times latency, first, whole;

static void ask(struct client *c)
{
	char text[2048], body[512];
	int n, len;

	c->asked_ns = now_ns();
	c->tokens = 0;
	c->ntail = 0;
	if (mode == WS) {
		unsigned char frame[512] = { 0x81 };

		len = snprintf(body, sizeof(body), CHAT, amount);
		frame[1] = 0x80 | (unsigned char)len; /* below 126 */
		memcpy(frame + 6, body, (size_t)len); /* the mask is 0 */
		if (send(c->fd, frame, 6 + (size_t)len, MSG_NOSIGNAL) < 0)
			errors++;
		return;
	}
	len = mode == SSE || mode == OPEN_SSE ? snprintf(body, sizeof(body), BODY_SSE, amount)
					      : snprintf(body, sizeof(body), "%s", BODY_JSON);
	if (mode == IDLE_LIVE)
		n = snprintf(text, sizeof(text), "GET /health/live HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", port);
	else
		n = snprintf(text, sizeof(text),
		"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
		"Content-Length: %d\r\n\r\n%s", port, len, body);
	if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) < 0)
		errors++;
}

static bool upgrades(void)
{
	return mode == WS || mode == SETUP || mode == CROWD || mode == IDLE_WS || mode == VISITS;
}

static void upgrade(struct client *c)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
		"GET /ws/chat HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", port);

	c->asked_ns = now_ns();
	if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) < 0)
		errors++;
}

static void open_client(struct client *c)
{
	*c = (struct client){ .fd = connect_to(port, from) };
	watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLOUT, c);
}

static void end(struct client *c)
{
	if (c->step == OVER)
		return;
	close(c->fd);
	c->step = OVER;
	over++;
}

static void held(struct client *c)
{
	(void)c;
	if (++ready_ones == count) {
		puts("ready");
		fflush(stdout);
	}
}

/* The request, or the handshake, is complete. */
static void done(struct client *c)
{
	requests++;
	times_add(&whole, now_ns() - c->asked_ns);
	if (mode == IDLE_HTTP || mode == IDLE_LIVE) {
		held(c);
	} else if (mode == JSON && now_ns() < until_ns) {
		ask(c);
	} else {
		end(c);
	}
}

static void set_up(struct client *c)
{
	c->step = RUNNING;
	if (mode == WS) {
		ask(c);
		return;
	}
	times_add(&whole, now_ns() - c->asked_ns);
	requests++;
	if (mode == IDLE_WS) {
		held(c);
	} else if (mode == SETUP || mode == VISITS) {
		static const unsigned char close_frame[] = { 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8 };

		send(c->fd, close_frame, sizeof(close_frame), MSG_NOSIGNAL);
		shutdown(c->fd, SHUT_WR);
		c->shut = true;
	}
}

/* Tokens in this block, which may begin within one. */
static void count_tokens(struct client *c, const char *bytes, size_t len)
{
	static const char mark_sse[] = "\"content\":\"", mark_ws[] = "\"type\":\"text\",\"data\":\"";
	const char *mark = mode == WS ? mark_ws : mark_sse;
	size_t nmark = strlen(mark);
	static char joined[TAIL_BYTES + READ_BYTES + 1];
	const char *at = joined, *found, *stop;
	uint64_t now = now_ns();

	memcpy(joined, c->tail, c->ntail);
	memcpy(joined + c->ntail, bytes, len);
	stop = joined + c->ntail + len;
	while ((found = memmem(at, (size_t)(stop - at), mark, nmark)) && found + nmark + 16 <= stop) {
		uint64_t sent = strtoull(found + nmark, NULL, 16);

		at = found + nmark + 16;
		tokens++;
		if (c->tokens++)
			times_add(&latency, now - sent);
		else {
			times_add(&first, now - c->asked_ns);
			if (mode == OPEN_SSE)
				held(c);
		}
	}
	c->ntail = (unsigned)(stop - at < TAIL_BYTES ? stop - at : TAIL_BYTES);
	memcpy(c->tail, stop - c->ntail, c->ntail);
}

static bool ends_here(const struct client *c, const char *bytes, size_t len)
{
	switch (mode) {
	case JSON:
	case IDLE_HTTP:
		return memmem(bytes, len, "\"usage\"", 7) != NULL;
	case IDLE_LIVE:
		return memmem(bytes, len, "\r\n\r\n", 4) != NULL;
	case SSE:
	case OPEN_SSE:
		/* in the tail, too: it may be cut */
		return memmem(c->tail, c->ntail, "0\r\n\r\n", 5) != NULL;
	default:
		return memmem(c->tail, c->ntail, "\"complete\"", 10) != NULL;
	}
}

static void hear_upgrade(struct client *c, char *bytes, size_t len)
{
	bool good = len >= 12 && !memcmp(bytes, "HTTP/1.1 101", 12);
	char *behind = memmem(bytes, len, "\r\n\r\n", 4);

	if (mode == CROWD) {
		/* Refused by a status, or by a close frame that follows at once. */
		bool closed = !good || (behind && behind + 4 < bytes + len && (behind[4] & 15) == 8);

		times_add(closed ? &first : &whole, now_ns() - c->asked_ns);
		c->step = RUNNING;
		if (closed)
			refused++;
		else
			admitted++;
		held(c);
		return;
	}
	if (good) {
		set_up(c);
		return;
	}
	errors++;
	end(c);
}

static void hear(struct client *c)
{
	static char bytes[READ_BYTES];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

	if (n <= 0) {
		if (n < 0 && errno == EAGAIN)
			return;
		if (mode == SETUP && c->shut && now_ns() < until_ns) {
			close(c->fd);
			open_client(c);
			return;
		}
		if (!c->shut && mode != CROWD)
			errors++;
		end(c);
		return;
	}
	if (c->step == UPGRADING) {
		hear_upgrade(c, bytes, (size_t)n);
		return;
	}
	if (mode == CROWD) { /* the close came by itself */
		if ((bytes[0] & 15) == 8) {
			times_add(&first, now_ns() - c->asked_ns);
			admitted--;
			refused++;
		}
		return;
	}
	if (mode == SSE || mode == WS || mode == OPEN_SSE)
		count_tokens(c, bytes, (size_t)n);
	if (c->step == RUNNING && !c->shut && ends_here(c, bytes, (size_t)n))
		done(c);
}

static void connected(struct client *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		errors++;
		end(c);
		return;
	}
	watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
	c->step = upgrades() ? UPGRADING : RUNNING;
	if (upgrades())
		upgrade(c);
	else
		ask(c);
}

static void print_times(const char *name, const struct times *t)
{
	if (t->count)
		printf(",\"%s\":{\"n\":%" PRIu64 ",\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}", name,
			t->count, times_quantile(t, 0.5), times_quantile(t, 0.9), times_quantile(t, 0.99),
			times_quantile(t, 0.999999));
}

static bool read_arguments(int argc, char **argv)
{
	if (argc != 5 && argc != 6)
		return false;
	while (mode < MODES && strcmp(argv[1], mode_names[mode]))
		mode++;
	port = atoi(argv[2]);
	count = (unsigned)atoi(argv[3]);
	amount = (unsigned)atoi(argv[4]);
	from = argv[5];
	return mode < MODES && port && count;
}

/* All of them at once would overflow a backlog: a few at a time. */
static void open_some(unsigned *opened, uint64_t began)
{
	unsigned at_once = mode == CROWD ? count : 64;

	if (mode == VISITS) {
		uint64_t due = (now_ns() - began) * amount / 1000000000u;

		at_once = due > *opened ? (unsigned)(due - *opened) : 0;
	}
	while (*opened < count && at_once--)
		open_client(&clients[(*opened)++]);
}

/* False: it is over. A line says that measuring begins. */
static bool hear_input(void)
{
	char line[64];

	if (mode != OPEN_SSE || read(0, line, sizeof(line)) <= 0)
		return false;
	latency = (struct times){ 0 };
	tokens = 0;
	return true;
}

int main(int argc, char **argv)
{
	static struct client input_mark;
	struct epoll_event ready[512];
	bool holds, stopped = false;
	unsigned opened = 0;
	uint64_t began;

	if (!read_arguments(argc, argv)) {
		fprintf(stderr, "usage: load MODE PORT COUNT AMOUNT (see load.c)\n");
		return 2;
	}
	holds = mode == CROWD || mode == IDLE_WS || mode == IDLE_HTTP || mode == IDLE_LIVE || mode == OPEN_SSE;
	many_descriptors();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	clients = must(calloc(count, sizeof(*clients)));
	if (holds)
		watch(epoll, EPOLL_CTL_ADD, 0, EPOLLIN, &input_mark);
	began = now_ns();
	until_ns = began + amount * 1000000000ull;
	/* where one failed, they will never all be ready */
	while (over < count && !stopped && !(holds && errors && ready_ones < count)) {
		int n;

		open_some(&opened, began);
		n = epoll_wait(epoll, ready, 512, opened < count ? 1 : 1000);
		for (int i = 0; i < n; i++) {
			struct client *c = ready[i].data.ptr;

			if (c == &input_mark)
				stopped = !hear_input();
			else if (c->step == CONNECTING)
				connected(c);
			else if (c->step != OVER)
				hear(c);
		}
	}
	printf("{\"mode\":\"%s\",\"seconds\":%.3f,\"requests\":%" PRIu64 ",\"tokens\":%" PRIu64 ",\"errors\":%" PRIu64
	       ",\"admitted\":%" PRIu64 ",\"refused\":%" PRIu64,
		argv[1], (double)(now_ns() - began) / 1e9, requests, tokens, errors, admitted, refused);
	print_times("latency", &latency);
	print_times("first", &first);
	print_times("whole", &whole);
	puts("}");
	return errors != 0;
}
