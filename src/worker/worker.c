/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.c - a worker process: opens the rooms, runs the loop, drains, leaves.
 *
 * Each turn of the loop: libevent calls what is due; then all that was deferred
 * runs and the gates are asked what they granted, until nothing is left to do; only
 * then it may sleep. The master needs two things of us: a heartbeat in the segment,
 * and that we leave when it is gone (the lifeline).
 */
#include "base/base.h"
#include "worker/worker.h"

#include "base/bug.h"
#include "base/clock.h"
#include "base/defer.h"
#include "base/fd.h"
#include "base/listening.h"
#include "base/log.h"
#include "conf/conf.h"
#include "shm/lease.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "worker/admit/admit.h"
#include "worker/endpoint/endpoint.h"
#include "worker/exchange/exchange.h"
#include "worker/http/http.h"
#include "worker/neighbours.h"
#include "worker/provider/provider.h"

#include <event2/event.h>
#include <signal.h>

#define HEARTBEAT_MS 250
/* A millisecond apart. */
#define EMPTY_TRIES 500
#define LEASES_MS 25 /* much less than a lease is used shorter than it counts */

enum worker_event {
	EVENT_WAKE,	 /* our eventfd: a gate has something for us */
	EVENT_HEARTBEAT, /* a timer */
	EVENT_LIFELINE,	 /* the master is gone */
	EVENT_TERM,
	EVENT_QUIT,
	EVENT_REOPEN,
	EVENT_DRAIN_TIMEOUT,
	EVENT_DOORS_EMPTY, /* nothing is on its way any more to sockets that are shut */
	EVENT_LEASES,	   /* a timer, in a cluster */
	EVENT_COUNT
};

struct worker {
	const struct heritage *heritage;
	char who[24];
	struct event_base *base;
	struct event *event[EVENT_COUNT];
	struct admit *admit;
	struct providers *providers;
	bool endpoint_is_open;
	struct http *http;
	struct neighbours *neighbours;
	bool draining;
	bool orphaned; /* the master is gone */
	bool leaving;
	int *shut_fds; /* listening sockets that we empty */
	unsigned nshut;
	unsigned emptied; /* times that they were looked at */
};

/* ---- the last thing a worker does when it falls ---- */

#define FATAL_SIGNALS(X) X(SIGSEGV) X(SIGBUS) X(SIGILL) X(SIGFPE) X(SIGABRT)

static struct sigaction before_us[NSIG];

/* Leave a note and let happen what would have happened without us: a core, a sanitizer's report. */
static void on_fatal_signal(int signo, siginfo_t *info, void *context)
{
	switch (signo) {
#define X(name)                                                                                 \
	case name:                                                                              \
		bug_say_last("fell by " #name);                                                 \
		break;
		FATAL_SIGNALS(X)
#undef X
	}
	sigaction(signo, &before_us[signo], NULL);
	if (info->si_code <= 0)
		raise(signo); /* somebody sent it: it does not come again by itself */
}

static void catch_fatal_signals(void)
{
	struct sigaction sa = { .sa_sigaction = on_fatal_signal, .sa_flags = SA_SIGINFO };

#define X(name) sigaction(name, &sa, &before_us[name]);
	FATAL_SIGNALS(X)
#undef X
}

/* ---- events ---- */

static void close_shut_doors(struct worker *w)
{
	http_stop_listening(w->http);
	for (unsigned i = 0; i < w->nshut; i++)
		fd_close(&w->shut_fds[i]);
	w->nshut = 0;
}

/* Where the kernel lets clients in until the end, the one moment without any is awaited, for a while. */
static void on_doors_empty(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval soon = { .tv_usec = 1000 };
	struct worker *w = arg;
	bool waiting = false;

	for (unsigned i = 0; i < w->nshut && !waiting; i++)
		waiting = listening_has_client(w->shut_fds[i]);
	if (waiting && w->emptied++ < EMPTY_TRIES)
		evtimer_add(w->event[EVENT_DOORS_EMPTY], &soon);
	else
		close_shut_doors(w);
}

/* A socket that others serve from now on is theirs; one that is shut is emptied, whose door it may be. */
static void leave_door(struct worker *w, int fd)
{
	if (!listening_is_shut(fd)) {
		fd_close(&fd);
		return;
	}
	w->shut_fds[w->nshut++] = fd;
	if (fd != w->heritage->admin_fd && fd != w->heritage->listen_fds[w->heritage->door])
		http_accept_also(w->http, fd, true);
}

static void leave_doors(struct worker *w)
{
	const struct timeval linger = { .tv_usec = LISTENING_LINGER_MS * 1000 };
	const struct heritage *h = w->heritage;

	w->shut_fds = xcalloc(h->nlisten + 1, sizeof(*w->shut_fds));
	for (unsigned i = 0; i < h->nlisten; i++)
		leave_door(w, h->listen_fds[i]);
	if (h->admin_fd >= 0)
		leave_door(w, h->admin_fd);
	if (w->nshut)
		evtimer_add(w->event[EVENT_DOORS_EMPTY], &linger);
}

/* gentle: others have taken our place; without haste, clients that do nothing find their way to them. */
static void drain(struct worker *w, bool gentle)
{
	uint64_t ms = w->heritage->conf->drain_timeout_ms;
	struct timeval timeout = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000 };

	if (w->draining) {
		if (!gentle)
			http_drain(w->http, 0);
		return;
	}
	w->draining = true;
	shm_slot_set_state(w->heritage->shm, w->heritage->slot, SLOT_DRAINING);
	leave_doors(w);
	http_drain(w->http, gentle ? ms / 4 * 3 : 0);
	evtimer_add(w->event[EVENT_DRAIN_TIMEOUT], &timeout);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	/* The count says nothing (writes run together): settle() asks the gates. */
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
		log_error("worker", "eventfd: %s", strerror(errno));
}

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	uint64_t now_ms = clock_ms();

	shm_slot_beat(w->heritage->shm, w->heritage->slot, now_ms);
	if (!w->draining && shm_draining(w->heritage->shm))
		http_announce_drain(w->http);
	if (!w->draining)
		neighbours_watch(w->neighbours, now_ms);
}

static void on_lifeline(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	log_warning("worker", "the master is gone: draining");
	event_del(w->event[EVENT_LIFELINE]);
	w->orphaned = true;
	drain(w, false);
}

/* Nobody renews the leases of a node without a master, and another may begin under its name. */
static void leave_with_the_lease(struct worker *w)
{
	if (clock_boot_ms() < lease_until_ms(w->heritage->shm, SHM_GATE_PLACES))
		return;
	log_warning("worker", "the last lease of shared limits has lapsed: cutting %u connections with %u requests at providers",
		http_connections(w->http), providers_running(w->providers));
	w->leaving = true;
}

static void on_leases(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	if (w->orphaned)
		leave_with_the_lease(w);
	providers_lapse(w->providers);
	admit_lapse(w->admit);
}

static void on_term(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	w->leaving = true;
}

static void on_quit(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	drain(w, !shm_draining(w->heritage->shm));
}

/* The master has made the new file, if it could, so that it belongs to whom it should. */
static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
	const struct heritage *h = ((struct worker *)arg)->heritage;

	log_reopen(h->log_fd, h->conf->log_file, "worker");
}

static void on_drain_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	log_warning("worker", "drain_timeout: cutting %u connections with %u requests at providers",
		http_connections(w->http), providers_running(w->providers));
	w->leaving = true;
}

/* ---- setting up ---- */

/*
 * Signals were blocked since before the fork, so that none is lost: they are let in
 * when there are events for them.
 */
static bool open_events(struct worker *w)
{
	const struct heritage *h = w->heritage;
	const struct timeval heartbeat = { 0, HEARTBEAT_MS * 1000 }, leases = { 0, LEASES_MS * 1000 };
	const struct {
		int fd;
		short what;
		event_callback_fn fn;
		const struct timeval *period;
	} rows[EVENT_COUNT] = {
		[EVENT_WAKE] = { h->wake_fds[h->slot], EV_READ | EV_PERSIST, on_wake, NULL },
		[EVENT_HEARTBEAT] = { -1, EV_PERSIST, on_heartbeat, &heartbeat },
		[EVENT_LIFELINE] = { h->lifeline_fd, EV_READ, on_lifeline, NULL },
		[EVENT_TERM] = { SIGTERM, EV_SIGNAL | EV_PERSIST, on_term, NULL },
		[EVENT_QUIT] = { SIGQUIT, EV_SIGNAL | EV_PERSIST, on_quit, NULL },
		[EVENT_REOPEN] = { SIGUSR1, EV_SIGNAL | EV_PERSIST, on_reopen, NULL },
		[EVENT_DRAIN_TIMEOUT] = { -1, 0, on_drain_timeout, NULL },
		[EVENT_DOORS_EMPTY] = { -1, 0, on_doors_empty, NULL },
		[EVENT_LEASES] = { -1, EV_PERSIST, on_leases, &leases },
	};

	for (int i = 0; i < EVENT_COUNT; i++) {
		w->event[i] = event_new(w->base, rows[i].fd, rows[i].what, rows[i].fn, w);
		if (!w->event[i])
			return false;
		if (i < EVENT_DRAIN_TIMEOUT && event_add(w->event[i], rows[i].period) < 0)
			return false;
	}
	if (shm_is_clustered(h->shm))
		event_add(w->event[EVENT_LEASES], &leases);
	return true;
}

static void let_signals_in(void)
{
	static const int ignored[] = { SIGPIPE, SIGINT, SIGHUP, SIGUSR2 };
	sigset_t none;

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* We leave already: what the master still says must not find a handler that is being taken away. */
static void shut_signals_out(void)
{
	static const int of_the_master[] = { SIGTERM, SIGQUIT, SIGUSR1 };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(of_the_master); i++)
		sigaddset(&set, of_the_master[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* No locks and no change list: one thread, and descriptors are closed and opened within a turn. */
static struct event_base *open_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

/* The rooms in the order of who needs whom. False: the reason is in the log. */
static bool open_rooms(struct worker *w)
{
	const struct heritage *h = w->heritage;

	w->base = open_base();
	if (!w->base || !open_events(w)) {
		log_error("worker", "cannot set up the event loop: %s", strerror(errno));
		return false;
	}
	exchange_access_log(h->conf->access_log);
	w->admit = admit_open(w->base, h->conf, h->shm);
	w->providers = providers_open(w->base, h->conf, h->shm);
	if (!w->admit || !w->providers) {
		log_error("worker", "cannot set up the providers");
		return false;
	}
	endpoint_open(&(struct endpoint_setup){ .base = w->base,
		.conf = h->conf,
		.shm = h->shm,
		.admit = w->admit,
		.providers = w->providers });
	w->endpoint_is_open = true;
	w->http = http_open(w->base, h->conf, w->admit, h->listen_fds[h->door], endpoint_route, NULL);
	if (!w->http) {
		log_error("worker", "cannot set up the client side");
		return false;
	}
	for (unsigned i = h->door + h->ndoors; i < h->nlisten; i += h->ndoors)
		http_accept_also(w->http, h->listen_fds[i], true);
	if (h->admin_fd >= 0 && !http_listen_admin(w->http, h->admin_fd))
		return false;
	w->neighbours = neighbours_open(h, w->http);
	return true;
}

/* ---- the loop ---- */

/* The end of a turn: until nothing is left to do. */
static void settle(struct worker *w)
{
	do {
		defer_run();
		providers_poll(w->providers);
		admit_poll(w->admit);
		if (w->http)
			http_poll(w->http);
	} while (defer_pending());
}

static bool drained(const struct worker *w)
{
	return w->draining && !w->nshut && http_connections(w->http) == 0 && providers_running(w->providers) == 0;
}

static void run(struct worker *w)
{
	settle(w);
	while (!w->leaving && !drained(w)) {
		event_base_loop(w->base, EVLOOP_ONCE);
		stat_add(STAT_LOOP_TURNS, 1);
		settle(w);
	}
}

/* No heartbeat, no word of the master from now on: the rooms that they would be passed to are being closed. */
static void close_ears(struct worker *w)
{
	for (int i = 0; i < EVENT_COUNT; i++) {
		if (w->event[i])
			event_free(w->event[i]);
	}
}

/* Everything goes, in the reverse order; clients are cut, what they held is given back. */
static void close_rooms(struct worker *w)
{
	close_ears(w);
	if (w->http) {
		http_close(w->http);
		w->http = NULL;
		settle(w);
		/* what libevent put off (finalizers, deferred callbacks) happens in one last turn */
		event_base_loop(w->base, EVLOOP_NONBLOCK);
		settle(w);
	}
	free(w->shut_fds);
	if (w->neighbours)
		neighbours_close(w->neighbours);
	if (w->endpoint_is_open)
		endpoint_close();
	if (w->providers)
		providers_close(w->providers);
	if (w->admit)
		admit_close(w->admit);
	defer_run();
	if (w->base)
		event_base_free(w->base);
	libevent_global_shutdown();
}

static void say_ready(const struct heritage *h)
{
	int fd = h->ready_fd;

	shm_slot_beat(h->shm, h->slot, clock_ms());
	shm_slot_set_state(h->shm, h->slot, SLOT_READY);
	if (write(fd, "", 1) != 1)
		log_warning("worker", "the master does not hear that we are ready: %s", strerror(errno));
	fd_close(&fd);
}

int worker_main(const struct heritage *heritage)
{
	struct worker w = { .heritage = heritage };
	int status = WORKER_EXIT_SETUP;

	snprintf(w.who, sizeof(w.who), "worker %u", heritage->slot);
	log_who(w.who);
	shm_bind(heritage->shm, heritage->slot, heritage->wake_fds);
	shm_slot_set_pid(heritage->shm, heritage->slot, getpid());
	catch_fatal_signals();
	if (open_rooms(&w)) {
		let_signals_in();
		say_ready(heritage);
		run(&w);
		shut_signals_out();
		status = WORKER_EXIT_OK;
	}
	close_rooms(&w);
	log_who("worker");
	return status;
}
