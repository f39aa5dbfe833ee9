/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_provider.h - what the tests of the provider room share: a provider that lives in
 * processes of its own and does what the path says, one worker's loop, and an asker
 * that writes down what it hears.
 */
#ifndef TEST_PROVIDER_H
#define TEST_PROVIDER_H

#include "base/base.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/defer.h"
#include "base/log.h"
#include "conf/conf.h"
#include "shm/gate.h"
#include "shm/reclaim.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "shm/window.h"
#include "unit.h"
#include "worker/provider/provider.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* ---- the provider ----------------------------------------------------------------- */

#define SEEN_MAX 256

/* Shared between the test and the provider's processes. */
struct fake {
	atomic_uint connections;
	atomic_uint requests;
	atomic_uint active, peak;	/* between a request and its last byte */
	atomic_uint gather;		/* "/gather" answers when so many have been active at once */
	_Atomic uint64_t sent;		/* bytes of "/big" so far */
	_Atomic uint64_t at_ms[SEEN_MAX]; /* when request i came */
	char head[4096], body[4096];	/* of the last request */
	atomic_uint others;		/* requests to "/b/...", which always go well */
	unsigned port;
};

struct fake_request {
	int fd;
	unsigned nth; /* on this connection, from 1 */
	char path[64];
};

static inline bool fake_send(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool fake_chunk(int fd, const char *text)
{
	char *chunk = xasprintf("%zx\r\n%s\r\n", strlen(text), text);
	bool ok = fake_send(fd, chunk, strlen(chunk));

	free(chunk);
	return ok;
}

static inline void fake_answer(int fd, const char *status, const char *type, const char *headers,
	const char *body)
{
	char *text = xasprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n%s",
		status, type, strlen(body), headers, body);

	fake_send(fd, text, strlen(text));
	free(text);
}

static inline void fake_stream_head(int fd)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
				   "Transfer-Encoding: chunked\r\n\r\n";

	fake_send(fd, head, sizeof(head) - 1);
}

#define TOKEN(text)                                                                             \
	"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text                       \
	"\"},\"finish_reason\":null}],\"usage\":null}\n\n"
#define FINISH                                                                                  \
	"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE                                                                                   \
	"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3}}\n\n"
#define STREAM_DONE "data: [DONE]\n\n"

static inline void fake_wait_for_close(int fd)
{
	char byte;

	while (read(fd, &byte, 1) > 0)
		;
}

static inline void fake_big(struct fake *fake, int fd)
{
	char event[1024];

	memset(event, 'x', sizeof(event));
	memcpy(event, "data: {\"a\":\"", 12);
	memcpy(event + sizeof(event) - 5, "\"}\n\n", 5);
	fake_stream_head(fd);
	for (int i = 0; i < 8192; i++) {
		if (!fake_chunk(fd, event))
			return;
		atomic_fetch_add(&fake->sent, sizeof(event) - 1);
	}
	fake_chunk(fd, FINISH STREAM_DONE);
	fake_send(fd, "0\r\n\r\n", 5);
}

/* A stream of tokens, and how it ends. */
static inline void fake_stream(int fd, const char *end, bool terminated)
{
	fake_stream_head(fd);
	fake_chunk(fd, ": hello\n\n" TOKEN("a") TOKEN("b"));
	fake_chunk(fd, TOKEN("c"));
	if (*end)
		fake_chunk(fd, end);
	if (terminated)
		fake_send(fd, "0\r\n\r\n", 5);
}

/* What "/raw/N" and "/bits/N" answer, to the letter; the latter byte by byte. Set before rig_open(). */
struct fake_raw {
	const char *text;
	bool close;
};
static const struct fake_raw *(*fake_raw_of)(unsigned n);

static inline bool fake_raw(int fd, unsigned n, bool bits)
{
	const struct fake_raw *raw = fake_raw_of(n);
	size_t len = strlen(raw->text);

	if (!bits)
		fake_send(fd, raw->text, len);
	for (size_t i = 0; bits && i < len; i++) {
		fake_send(fd, raw->text + i, 1);
		poll(NULL, 0, i % 8 == 0);
	}
	return !raw->close;
}

/* False: close the connection. */
static inline bool fake_serve(struct fake *fake, const struct fake_request *r)
{
	int fd = r->fd;
	const char *path = r->path;

	if (!strncmp(path, "/b/", 3)) {
		atomic_fetch_add(&fake->others, 1);
		fake_stream(fd, FINISH USAGE STREAM_DONE, true);
	} else if (!strcmp(path, "/stream")) {
		fake_stream(fd, FINISH USAGE STREAM_DONE, true);
	} else if (!strcmp(path, "/no-done")) {
		fake_stream(fd, FINISH, true);
	} else if (!strcmp(path, "/early")) {
		fake_stream(fd, "", true);
	} else if (!strcmp(path, "/cut")) {
		fake_stream(fd, "", false);
		return false;
	} else if (!strcmp(path, "/cut-after-finish")) {
		fake_stream(fd, FINISH, false);
		return false;
	} else if (!strcmp(path, "/lingers")) {
		fake_stream(fd, FINISH STREAM_DONE "data: junk\n\n", false);
		fake_wait_for_close(fd);
		return false;
	} else if (!strcmp(path, "/stream-error")) {
		fake_stream(fd, "data: {\"error\":{\"message\":\"out of \\\"luck\\\"\",\"code\":null}}\n\n",
			true);
	} else if (!strcmp(path, "/says-error")) {
		fake_stream(fd, TOKEN("\\\"error\\\" \\\"finish_reason\\\":1") FINISH STREAM_DONE, true);
	} else if (!strcmp(path, "/silent")) {
		fake_wait_for_close(fd);
		return false;
	} else if (!strcmp(path, "/stalls")) {
		fake_stream_head(fd);
		fake_chunk(fd, TOKEN("a"));
		fake_wait_for_close(fd);
		return false;
	} else if (!strcmp(path, "/gather")) {
		while (atomic_load(&fake->peak) < atomic_load(&fake->gather))
			poll(NULL, 0, 1);
		fake_stream_head(fd);
		fake_chunk(fd, TOKEN("a") FINISH STREAM_DONE);
		atomic_fetch_sub(&fake->active, 1); /* before it can be known that it is over */
		fake_send(fd, "0\r\n\r\n", 5);
		atomic_fetch_add(&fake->active, 1);
	} else if (!strcmp(path, "/big")) {
		fake_big(fake, fd);
	} else if (!strcmp(path, "/json")) {
		fake_answer(fd, "200 OK", "application/json", "",
			"{\"choices\":[{\"message\":{\"content\":\"hi\"}}],"
			"\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}");
	} else if (!strcmp(path, "/bad-json")) {
		fake_answer(fd, "200 OK", "application/json", "", "{\"choices\":[");
	} else if (!strcmp(path, "/429")) {
		fake_answer(fd, "429 Too Many", "application/json", "Retry-After: 7\r\n",
			"{\"error\":{\"message\":\"slow down\"}}");
	} else if (!strcmp(path, "/429ms")) {
		fake_answer(fd, "429 Too Many", "application/json",
			"Retry-After: 7\r\nretry-after-ms: 250.5\r\n", "{}");
	} else if (!strcmp(path, "/quota")) {
		fake_answer(fd, "429 Too Many", "application/json", "x-should-retry: true\r\n",
			"{\"error\":{\"code\":\"insufficient_quota\"}}");
	} else if (!strcmp(path, "/400-again")) {
		fake_answer(fd, "400 No", "application/json", "x-should-retry: true\r\n", "{}");
	} else if (!strcmp(path, "/503-final")) {
		fake_answer(fd, "503 No", "application/json", "x-should-retry: false\r\n", "{}");
	} else if (!strcmp(path, "/529")) {
		fake_answer(fd, "529 Overloaded", "application/json", "", "{}");
	} else if (!strcmp(path, "/429-long")) {
		fake_answer(fd, "429 Too Many", "application/json", "Retry-After: 61\r\n", "{}");
	} else if (!strcmp(path, "/third")) {
		if (atomic_load(&fake->requests) < 3)
			fake_answer(fd, "500 No", "application/json", "", "{}");
		else
			fake_stream(fd, FINISH USAGE STREAM_DONE, true);
	} else if (!strcmp(path, "/401-but-two")) {
		if (strstr(fake->head, "sk-two"))
			fake_stream(fd, FINISH USAGE STREAM_DONE, true);
		else
			fake_answer(fd, "401 No", "application/json", "", "{}");
	} else if (!strcmp(path, "/401")) {
		fake_answer(fd, "401 No", "application/json", "", "{\"error\":\"bad key\"}");
	} else if (!strcmp(path, "/once")) {
		/* Only the first request on a connection is answered. */
		if (r->nth > 1)
			return false;
		fake_answer(fd, "200 OK", "application/json", "", "{}");
	} else if (!strncmp(path, "/raw/", 5)) {
		return fake_raw(fd, (unsigned)atoi(path + 5), false);
	} else if (!strncmp(path, "/bits/", 6)) {
		return fake_raw(fd, (unsigned)atoi(path + 6), true);
	} else if (!strcmp(path, "/garbage")) {
		fake_send(fd, "SSH-2.0-OpenSSH\r\n\r\n", 19);
		return false;
	} else {
		fake_answer(fd, "404 No", "text/plain", "", "no such path");
	}
	return true;
}

/* Reads a request's head and body. */
static inline bool fake_read(struct fake *fake, struct fake_request *r)
{
	char head[sizeof(fake->head)], *length;
	size_t n = 0, body;

	for (; n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4); n++)
		if (n == sizeof(head) - 1 || read(r->fd, head + n, 1) != 1)
			return false;
	head[n] = 0;
	memcpy(fake->head, head, n + 1);
	r->nth++;
	if (sscanf(head, "%*s /v1%63s", r->path) != 1)
		return false;
	if (!strcmp(r->path, "/refuses")) {
		fake_answer(r->fd, "413 No", "application/json", "", "{}");
		poll(NULL, 0, 60000);
		return false;
	}
	if (!strcmp(r->path, "/deaf")) {
		poll(NULL, 0, 60000);
		return false;
	}
	length = strstr(head, "Content-Length: ");
	body = length ? strtoul(length + 16, NULL, 10) : 0;
	fake->body[body < sizeof(fake->body) ? body : 0] = 0;
	for (char block[16384]; body;) {
		ssize_t got = read(r->fd, block, body < sizeof(block) ? body : sizeof(block));

		if (got <= 0)
			return false;
		if (body < sizeof(fake->body) && (size_t)got == body)
			memcpy(fake->body, block, body);
		body -= (size_t)got;
	}
	return true;
}

static inline void fake_connection(struct fake *fake, int fd)
{
	struct fake_request r = { .fd = fd };
	bool go_on = true;

	while (go_on && fake_read(fake, &r)) {
		unsigned now = atomic_fetch_add(&fake->active, 1) + 1, peak = atomic_load(&fake->peak);
		unsigned nth = atomic_fetch_add(&fake->requests, 1);

		atomic_store(&fake->at_ms[nth % SEEN_MAX], clock_ms());
		while (peak < now && !atomic_compare_exchange_weak(&fake->peak, &peak, now))
			;
		go_on = fake_serve(fake, &r);
		atomic_fetch_sub(&fake->active, 1);
	}
}

/* Returns the process to kill. */
static inline int fake_start(struct fake *fake)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0), parent = getpid(), pid;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 128), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	fake->port = ntohs(address.sin_port);
	pid = fork();
	if (pid) {
		close(fd);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int client = accept(fd, NULL, NULL);

		if (client < 0)
			_exit(1);
		atomic_fetch_add(&fake->connections, 1);
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			fake_connection(fake, client);
			_exit(0);
		}
		close(client);
	}
}

/* ---- a worker --------------------------------------------------------------------- */

struct rig {
	struct fake *fake;
	int fake_pid;
	struct conf_provider provider[2];
	struct conf conf;
	char base_url[64];
	struct shm *shm;
	int wake_fd;
	struct event_base *base;
	struct event *wake, *tick;
	struct providers *providers;
	struct conf_client key;
	struct provider_client client; /* of the calls */
};

/* What a test may set before rig_open(). */
struct rig_options {
	unsigned permits; /* 0: 25 */
	unsigned sockets; /* 0: 50 */
	unsigned per_window;
	unsigned window_ms;
	unsigned read_ms, write_ms, connect_ms, queue_ms; /* 0: long */
	unsigned retries;
	double backoff_s;
	bool circuit_breaker;
	const char *base_url;				  /* NULL: the fake one */
	struct shm_client_spec key; /* calls are those of this key */
};

static inline void rig_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	if (fd >= 0 && read(fd, &count, sizeof(count)) < 0)
		ck_assert_int_eq(errno, EAGAIN);
}

static inline void rig_turn(struct rig *rig)
{
	event_base_loop(rig->base, EVLOOP_ONCE | (defer_pending() ? EVLOOP_NONBLOCK : 0));
	do {
		defer_run();
		providers_poll(rig->providers);
	} while (defer_pending());
}

#define RUN_UNTIL(rig, condition)                                                               \
	while (!(condition))                                                                    \
	rig_turn(rig)

static inline void rig_open_conf(struct rig *rig, const struct rig_options *o)
{
	static char empty[] = "", name[] = "fake", key[] = "sk-secret", model[] = "gpt-4o";
	static char *keys[] = { key };
	struct conf_provider *p = &rig->provider[0];

	snprintf(rig->base_url, sizeof(rig->base_url), "http://127.0.0.1:%u/v1/", rig->fake->port);
	*p = (struct conf_provider){
		.name = name,
		.keys = keys,
		.nkeys = 1,
		.queue_size = 1000,
		.circuit_breaker = o->circuit_breaker,
		.base_url = o->base_url ? (char *)o->base_url : rig->base_url,
		.model = model,
		.api_key = empty,
		.keepalive_expiry_ms = 30000,
		.max_keepalive = 20,
		.pool_max_connections = 50,
		.concurrent_requests = o->permits ? o->permits : 25,
		.connect_timeout_ms = o->connect_ms ? o->connect_ms : 30000,
		.read_timeout_ms = o->read_ms ? o->read_ms : 30000,
		.write_timeout_ms = o->write_ms ? o->write_ms : 30000,
		.max_retries = o->retries,
		.backoff_factor = o->backoff_s,
		.queue_timeout_ms = o->queue_ms ? o->queue_ms : 30000,
	};
	rig->conf = (struct conf){ .providers = rig->provider, .nproviders = 1 };
	if (o->key.name) {
		rig->key.name = (char *)o->key.name;
		rig->conf.clients = &rig->key;
		rig->conf.nclients = 1;
		rig->client = (struct provider_client){ .keyed = true };
	}
}

static inline void rig_open(struct rig *rig, const struct rig_options *o)
{
	struct shm_gate_spec gates[SHM_GATES(2)] = { { "places", 100 },
		{ "permits", o->permits ? o->permits : 25 }, { "sockets", o->sockets ? o->sockets : 50 },
		{ "idle sockets", 20 }, { "more permits", 25 }, { "more sockets", 50 },
		{ "more idle sockets", 20 } };
	struct shm_window_spec windows[] = {
		{ "rate", o->per_window, o->window_ms ? o->window_ms : 60000 },
		{ "another rate", 0, 60000 },
	};
	const char *names[] = { "fake", "other" };
	struct shm_spec spec = { .nslots = 1, .ngates = ARRAY_SIZE(gates), .gates = gates, .nwindows = 2,
		.windows = windows, .nproviders = 2, .providers = names,
		.nclients = o->key.name != NULL, .clients = &o->key, .client_window_ms = 60000 };
	const struct timeval tick = { 0, 20000 };
	char error[256] = "", path[64];

	*rig = (struct rig){ 0 };
	if (!getenv("VERBOSE"))
		log_setup(2, LOG_ERROR, LOG_CONSOLE);
	else
		log_setup(2, LOG_DEBUG, LOG_CONSOLE);
	rig->fake = mmap(NULL, sizeof(*rig->fake), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	rig->fake_pid = fake_start(rig->fake);
	snprintf(path, sizeof(path), "/tmp/headgate-unit-%d", getpid());
	rig->shm = shm_create(path, &spec, error);
	ck_assert_msg(rig->shm != NULL, "%s", error);
	shm_slot_claim(rig->shm, 0, clock_ms());
	rig->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	shm_bind(rig->shm, 0, &rig->wake_fd);
	rig_open_conf(rig, o);
	rig->base = event_base_new();
	rig->wake = event_new(rig->base, rig->wake_fd, EV_READ | EV_PERSIST, rig_wake, rig);
	event_add(rig->wake, NULL);
	rig->tick = event_new(rig->base, -1, EV_PERSIST, rig_wake, rig);
	event_add(rig->tick, &tick);
	rig->providers = providers_open(rig->base, &rig->conf, rig->shm);
}

static inline uint64_t rig_stat(struct rig *rig, enum pstat_id id)
{
	return pstat_sum(rig->shm, 0, id);
}

static inline uint64_t rig_permits_used(struct rig *rig)
{
	struct gate_reading r;

	gate_read(rig->shm, SHM_GATE_PROVIDER(0), &r);
	return r.used;
}

/* All is given back: permits, sockets, memory (the sanitizer looks). */
static inline void rig_close(struct rig *rig)
{
	char books[512];

	ck_assert_uint_eq(providers_running(rig->providers), 0);
	ck_assert_uint_eq(rig_permits_used(rig), 0);
	ck_assert_msg(shm_check(rig->shm, 10, books) == 0, "%s", books);
	providers_close(rig->providers);
	ck_assert_uint_eq(rig_stat(rig, PSTAT_SOCKETS_OPEN), 0);
	ck_assert_uint_eq(rig_stat(rig, PSTAT_SOCKETS_IDLE), 0);
	event_free(rig->wake);
	event_free(rig->tick);
	event_base_free(rig->base);
	shm_close(rig->shm, true);
	close(rig->wake_fd);
	kill(rig->fake_pid, SIGKILL);
	waitpid(rig->fake_pid, NULL, 0);
}

/* ---- an asker ---------------------------------------------------------------------- */

enum asked_when { NEVER, ON_QUEUED, ON_HEAD, ON_ROOM, ON_BYTES, ON_EVENT };

struct asked {
	struct provider_call *call;
	struct rig *rig;
	bool started; /* call_start() has returned */
	unsigned queued, heads, ends, events;
	struct provider_head head;
	struct buf bytes, last_event, body;
	struct provider_result result; /* its texts are gone, but limit */
	char message[512];
	struct provider_usage usage;
	bool full;		       /* has_room() says no */
	bool fills;		       /* each block leaves it full */
	unsigned refused;	       /* how often it did */
	enum asked_when cancel_when;
	unsigned order; /* its end was the n-th */
};
static unsigned asked_ends;

static inline void asked_heard(struct asked *a, enum asked_when when)
{
	ck_assert_msg(a->started, "a callback came before call_start() returned");
	ck_assert_ptr_nonnull(a->call);
	if (a->cancel_when == when) {
		call_cancel(a->call);
		a->call = NULL;
	}
}

static inline void asked_on_queued(struct provider_call *call, void *arg)
{
	struct asked *a = arg;

	a->queued++;
	asked_heard(a, ON_QUEUED);
}

static inline void asked_on_head(
	struct provider_call *call, const struct provider_head *head, void *arg)
{
	struct asked *a = arg;

	a->heads++;
	a->head = *head;
	asked_heard(a, ON_HEAD);
}

static inline bool asked_has_room(struct provider_call *call, void *arg)
{
	struct asked *a = arg;

	asked_heard(a, ON_ROOM);
	a->refused += a->full;
	return !a->full;
}

static inline void asked_on_bytes(struct provider_call *call, const char *bytes, size_t len, void *arg)
{
	struct asked *a = arg;

	ck_assert_uint_eq(a->heads, 1);
	buf_add(&a->bytes, bytes, len);
	a->full = a->fills;
	asked_heard(a, ON_BYTES);
}

static inline void asked_on_event(struct provider_call *call, const char *data, size_t len, void *arg)
{
	struct asked *a = arg;

	a->events++;
	buf_clear(&a->last_event);
	buf_add(&a->last_event, data, len);
	asked_heard(a, ON_EVENT);
}

static inline void asked_on_end(
	struct provider_call *call, const struct provider_result *result, void *arg)
{
	struct asked *a = arg;

	asked_heard(a, NEVER);
	a->ends++;
	a->order = ++asked_ends;
	a->result = *result;
	snprintf(a->message, sizeof(a->message), "%s", result->message ? result->message : "");
	if (result->body)
		buf_add(&a->body, result->body, result->body_len);
	a->usage = *call_usage(call);
	call_cancel(call); /* harmless */
	a->call = NULL;
}

static inline void ask_body(struct asked *a, struct rig *rig, const char *path, char *body, size_t len)
{
	static const struct provider_asker asker = { asked_on_queued, asked_on_head, asked_has_room,
		asked_on_bytes, asked_on_event, asked_on_end };
	struct provider_request request = { .path = path, .body = body, .body_len = len,
		.client = rig->client,
		.stream = true, .request_id = "req-1", .traceparent = "00-ab-cd-01" };

	a->rig = rig;
	a->call = call_start(rig->providers, &request, &asker, a);
	a->started = true;
}

static inline void ask(struct asked *a, struct rig *rig, const char *path)
{
	ask_body(a, rig, path, xstrdup("{\"messages\":[]}"), 15);
}

/* The same with a body of so many spaces. */
static inline void ask_at_length(struct asked *a, struct rig *rig, const char *path, size_t len)
{
	ask_body(a, rig, path, memset(xmalloc(len), ' ', len), len);
}

static inline void asked_release(struct asked *a)
{
	buf_release(&a->bytes);
	buf_release(&a->last_event);
	buf_release(&a->body);
}

/* Ask one question and hear it to its end. */
static inline void ask_and_wait(struct asked *a, struct rig *rig, const char *path)
{
	ask(a, rig, path);
	RUN_UNTIL(rig, a->ends);
	ck_assert_uint_eq(a->ends, 1);
}

#endif
