/* SPDX-License-Identifier: BSD-2-Clause */
/* curl_loop.c - see curl_loop.h. */
#include "base/base.h"
#include "worker/provider/curl_loop.h"

#include "base/bug.h"

#define SWEEP_AFTER_MS 1100 /* libcurl looks at most once a second */

/* A descriptor that libcurl watches. */
struct curl_socket {
	struct event event;
	struct curl_loop *loop;
	int what; /* CURL_POLL_IN, _OUT, _INOUT */
	TAILQ_ENTRY(curl_socket) entry;
};

bool curl_loop_inside(const struct curl_loop *loop)
{
	return loop->inside > 0;
}

static void end_sweep(struct curl_loop *loop)
{
	curl_loop_remove(loop, loop->sweeper);
	curl_easy_cleanup(loop->sweeper);
	loop->sweeper = NULL;
}

static void collect_done(struct curl_loop *loop)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(loop->multi, &left)))
		if (message->msg == CURLMSG_DONE && message->easy_handle == loop->sweeper)
			end_sweep(loop);
		else if (message->msg == CURLMSG_DONE)
			loop->done(message->easy_handle, message->data.result);
}

static void act(struct curl_loop *loop, curl_socket_t fd, int what)
{
	int running;
	CURLMcode code;

	loop->inside++;
	code = curl_multi_socket_action(loop->multi, fd, what, &running);
	loop->inside--;
	BUG_ON(code != CURLM_OK);
	collect_done(loop);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct curl_socket *s = arg;

	act(s->loop, fd,
		(what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void forget_socket(struct curl_socket *s)
{
	event_del(&s->event);
	TAILQ_REMOVE(&s->loop->sockets, s, entry);
	free(s);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct curl_loop *loop = arg;
	struct curl_socket *s = socket_arg;
	short events = EV_PERSIST;

	if (s && s->what == what)
		return 0;
	if (what == CURL_POLL_REMOVE) {
		if (s)
			forget_socket(s);
		return 0;
	}
	if (!s) {
		s = xcalloc(1, sizeof(*s));
		s->loop = loop;
		TAILQ_INSERT_TAIL(&loop->sockets, s, entry);
		curl_multi_assign(loop->multi, fd, s);
	} else {
		event_del(&s->event);
	}
	if (what & CURL_POLL_IN)
		events |= EV_READ;
	if (what & CURL_POLL_OUT)
		events |= EV_WRITE;
	s->what = what;
	event_assign(&s->event, loop->base, fd, events, on_socket, s);
	if (events != EV_PERSIST)
		event_add(&s->event, NULL);
	return 0;
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
	struct curl_loop *loop = arg;
	struct timeval in = { ms / 1000, ms % 1000 * 1000 };

	if (ms < 0)
		event_del(&loop->timer);
	else
		event_add(&loop->timer, &in);
	return 0;
}

static curl_socket_t no_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	return CURL_SOCKET_BAD;
}

/* The address is never used; a number, so that it needs no look-up. */
static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct curl_loop *loop = arg;

	loop->sweeper = curl_easy_init();
	BUG_ON(!loop->sweeper);
	curl_easy_setopt(loop->sweeper, CURLOPT_URL, "http://127.0.0.1:9/");
	curl_easy_setopt(loop->sweeper, CURLOPT_PROXY, "");
	curl_easy_setopt(loop->sweeper, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(loop->sweeper, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(loop->sweeper, CURLOPT_OPENSOCKETFUNCTION, no_socket);
	curl_loop_add(loop, loop->sweeper);
}

void curl_loop_open(struct curl_loop *loop, struct event_base *base, unsigned most_streams,
	curl_loop_done_fn done)
{
	BUG_ON(curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK);
	*loop = (struct curl_loop){ .multi = curl_multi_init(), .base = base, .done = done };
	BUG_ON(!loop->multi);
	TAILQ_INIT(&loop->sockets);
	evtimer_assign(&loop->timer, base, on_timer, loop);
	evtimer_assign(&loop->sweep_timer, base, on_sweep, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_PIPELINING,
		most_streams > 1 ? CURLPIPE_MULTIPLEX : CURLPIPE_NOTHING);
	curl_multi_setopt(loop->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)most_streams);
	curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, (long)INT32_MAX);
}

void curl_loop_sweep(struct curl_loop *loop)
{
	const struct timeval in = { SWEEP_AFTER_MS / 1000, SWEEP_AFTER_MS % 1000 * 1000 };

	if (!loop->sweeper && !evtimer_pending(&loop->sweep_timer, NULL))
		evtimer_add(&loop->sweep_timer, &in);
}

void curl_loop_close(struct curl_loop *loop)
{
	struct curl_socket *s, *next;

	if (loop->sweeper)
		end_sweep(loop);
	event_del(&loop->sweep_timer);
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, NULL);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, NULL);
	TAILQ_FOREACH_SAFE(s, &loop->sockets, entry, next)
		forget_socket(s);
	event_del(&loop->timer);
	BUG_ON(curl_multi_cleanup(loop->multi) != CURLM_OK);
	curl_global_cleanup();
}

void curl_loop_add(struct curl_loop *loop, CURL *easy)
{
	CURLMcode code;

	BUG_ON(loop->inside);
	loop->inside++;
	code = curl_multi_add_handle(loop->multi, easy);
	loop->inside--;
	BUG_ON(code != CURLM_OK);
}

void curl_loop_remove(struct curl_loop *loop, CURL *easy)
{
	CURLMcode code;

	BUG_ON(loop->inside);
	loop->inside++;
	code = curl_multi_remove_handle(loop->multi, easy);
	loop->inside--;
	BUG_ON(code != CURLM_OK);
}

CURLcode curl_loop_resume(struct curl_loop *loop, CURL *easy)
{
	CURLcode code;

	BUG_ON(loop->inside);
	loop->inside++;
	code = curl_easy_pause(easy, CURLPAUSE_CONT);
	loop->inside--;
	return code;
}

bool curl_loop_flush(struct curl_loop *loop, CURL *easy)
{
	bool done;

	BUG_ON(loop->inside);
	loop->inside++;
	done = curl_easy_pause(easy, CURLPAUSE_RECV) == CURLE_OK &&
		curl_easy_pause(easy, CURLPAUSE_CONT) == CURLE_OK;
	loop->inside--;
	return done;
}
