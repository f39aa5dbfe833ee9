/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agent.c - see agent.h: the loop that looks at the segment, asks Redis, and stores what it says.
 *
 * Everything that must happen in time happens by itself, by the schedules in the segment (shm/lease.h). So this process
 * may be stopped or killed at any time; the next one goes on with what stands there.
 */
#include "base/base.h"
#include "cluster/agent.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "cluster/ledger.h"
#include "cluster/link.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/stats.h"

#include <event2/event.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>

#define LOOK_MS 50u
#define TIMEOUT_SHARE 10u  /* of lease_ttl, for a connection, for an answer: the lease is long enough to try again */
#define TIMEOUT_MIN_MS 250u
#define TIMEOUT_MAX_MS 5000u
#define FAREWELL_MS 600u   /* after TERM, for the last answer */
#define LOCK_MS 20u	   /* for what the master stores meanwhile */
#define HURRY_MOST 2u	   /* a greeting, and the first renewal, are at once followed by the next request */
#define QUIET_MS 10000u	   /* between two lines about the same trouble */

enum agent_event { EVENT_LOOK, EVENT_LIFELINE, EVENT_TERM, EVENT_REOPEN, EVENT_COUNT };

struct agent {
	const struct agent_heritage *heritage;
	struct shm *shm;
	struct event_base *base;
	struct event *event[EVENT_COUNT];
	struct link *link;
	struct ledger ledger;
	char incarnation[24], new_epoch[WIRE_EPOCH_BYTES], run[LINK_RUN_BYTES];
	struct wire_args args; /* of the request under way */
	bool up, asking, loaded;
	bool was_lost;		   /* and that was said */
	unsigned hurried;	   /* requests since then that were sent at once */
	bool crowded;		   /* so was that lease_ttl is too short for so many */
	uint64_t sent_ms, renewed_ms, quiet_until_ms; /* renewed: when what the last lease came from was sent */
	uint64_t leave_ms; /* TERM came: leave by then; 0: it did not */
	bool leaving;
	char refusal[WIRE_WHY_BYTES]; /* that was told last */
};

/* ---- into the segment ---- */

/* The place of a provider may have been given to another since the last look. */
static bool is_still(const struct agent *a, const struct lease_subject *s, unsigned i)
{
	struct lease_subject now;

	if (i >= lease_count(a->shm))
		return false;
	lease_subject(a->shm, i, &now);
	return strcmp(now.name, s->name) == 0;
}

static void store(struct agent *a, unsigned i, const struct lease_schedule *schedule)
{
	const struct lease_subject *s = &a->ledger.limit[i].subject;

	if (is_still(a, s, i))
		lease_write(a->shm, s, schedule, clock_ms());
}

static void store_all(struct agent *a, uint64_t received_ms)
{
	bool locked = shm_master_lock(a->shm, LOCK_MS); /* a stopped master does not keep us */
	struct lease_schedule schedule;

	for (unsigned i = 0; i < a->ledger.nasks; i++) {
		ledger_schedule(&a->ledger, i, a->sent_ms, received_ms, &schedule);
		store(a, a->ledger.of[i], &schedule);
	}
	ledger_note(&a->ledger, a->shm);
	if (locked)
		shm_master_unlock(a->shm);
	shm_wake_all(a->shm);
}

static void give_up(struct agent *a)
{
	struct lease_schedule schedule;

	for (unsigned i = 0; i < a->ledger.nlimits; i++) {
		if (!a->ledger.limit[i].subject.configured)
			continue;
		ledger_give_up(&a->ledger, i, &schedule);
		store(a, i, &schedule);
	}
}

/* ---- asking ---- */

static void hex(char *to, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		snprintf(to + 2 * i, 3, "%02x", ((const unsigned char *)bytes)[i]);
}

static void offer_epoch(struct agent *a)
{
	unsigned char random[16];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		abort();
	hex(a->new_epoch, random, sizeof(random));
}

static void ask(struct agent *a, uint64_t now_ms)
{
	const struct conf *conf = a->heritage->conf;
	struct wire_request request = { .incarnation = a->incarnation, .node = conf->cluster_node,
		.new_epoch = a->new_epoch, .run = a->run, .nodes = conf->cluster_nodes,
		.share = conf->cluster_share, .call = cluster_next_call(a->shm) };

	offer_epoch(a);
	a->ledger.draining = shm_draining(a->shm) || a->leave_ms;
	ledger_ask(&a->ledger, now_ms, &request);
	if (a->ledger.draining && a->ledger.holds_nothing) /* the answer that we have left may be lost: no rise after it */
		give_up(a);
	wire_release(&a->args);
	wire_build(&request, &a->args);
	a->asking = true;
	a->sent_ms = now_ms;
	stat_add(STAT_CLUSTER_REQUESTS, 1);
	link_eval(a->link, &a->args, !a->loaded);
}

/* ---- what is said about it ---- */

static void say_state(struct agent *a, enum cluster_state state)
{
	struct cluster_reading before;

	cluster_read(a->shm, &before);
	cluster_set_state(a->shm, state);
	if (before.state == state)
		return;
	if (state == CLUSTER_SHARING && before.state != CLUSTER_LEAVING)
		log_info("cluster", "limits are shared as '%s': %u of %u nodes are known", before.node,
			a->ledger.members, a->ledger.nodes);
	else if (state == CLUSTER_ALONE)
		log_warning("cluster",
			"no lease could be renewed: each limit falls to the guaranteed share until Redis is back");
	else if (state == CLUSTER_LEFT)
		log_info("cluster", "everything was given back");
}

/* Once, until it fits again. */
static void say_load(struct agent *a)
{
	uint64_t ttl_ms = a->heritage->conf->cluster_lease_ttl_ms, need_ms = ledger_bearable_ttl_ms(&a->ledger);
	bool crowded = ttl_ms < need_ms;

	if (crowded && !a->crowded)
		log_warning("cluster", "%u nodes with %u limits ask Redis for more than a quarter of its time; give cluster.lease_ttl "
			"%" PRIu64 "s or more, or make groups of nodes with a cluster.redis.prefix and a part of the limits each",
			a->ledger.members, a->ledger.nasks, (need_ms + 999) / 1000);
	a->crowded = crowded;
}

static void say_mismatches(struct agent *a)
{
	for (unsigned i = 0; i < a->ledger.nlimits; i++) {
		struct ledger_limit *limit = &a->ledger.limit[i];
		bool mismatch = limit->granted && limit->grant.mismatch;

		if (mismatch && !limit->mismatch_told)
			log_warning("cluster",
				"%s is not the same on all nodes: %" PRIu64 " here, and %" PRIu64 " holds, the lowest",
				limit->subject.name, limit->subject.configured, limit->grant.limit);
		else if (!mismatch && limit->mismatch_told)
			log_info("cluster", "%s is the same on all nodes again: %" PRIu64, limit->subject.name,
				limit->grant.limit);
		limit->mismatch_told = mismatch;
	}
}

/* ---- answers ---- */

static void take(struct agent *a, const struct wire_reply *reply, uint64_t now_ms)
{
	if (!ledger_take(&a->ledger, reply, a->sent_ms, now_ms)) {
		stat_add(STAT_CLUSTER_LATE, 1);
		return;
	}
	a->renewed_ms = a->sent_ms;
	store_all(a, now_ms);
	cluster_set_members(a->shm, reply->members, reply->nodes, a->ledger.mismatches);
	a->refusal[0] = 0;
	a->quiet_until_ms = 0;
	if (a->was_lost)
		log_info("cluster", "Redis is back");
	a->was_lost = false;
	say_state(a, !a->ledger.draining ? CLUSTER_SHARING : a->ledger.left ? CLUSTER_LEFT : CLUSTER_LEAVING);
	say_mismatches(a);
	say_load(a);
}

static void be_greeted(struct agent *a, const struct wire_reply *reply)
{
	if (!ledger_greeted(&a->ledger, reply))
		return;
	stat_add(STAT_CLUSTER_EPOCHS, 1);
	log_warning("cluster", "Redis has lost its data, or is another one: leases are counted anew");
}

/* Once, until there is a good answer. True: it is news. */
static bool is_news(struct agent *a, const char *why)
{
	bool same = strcmp(a->refusal, why) == 0;

	snprintf(a->refusal, sizeof(a->refusal), "%s", why);
	return !same;
}

/* Redis reserves nothing for us, or will not: not even the guaranteed share is ours. */
static void refused(struct agent *a, const char *why)
{
	give_up(a);
	a->ledger.again = false; /* it will not be otherwise at once */
	say_state(a, CLUSTER_REFUSED);
	if (is_news(a, why)) {
		log_error("cluster", "refused: %s", why);
		stat_add(STAT_CLUSTER_REFUSED, 1);
	}
}

static void say_error(struct agent *a, const char *why)
{
	if (is_news(a, why)) {
		log_warning("cluster", "Redis answers: %s", why);
		a->was_lost = true;
	}
	a->quiet_until_ms = clock_boot_ms() + QUIET_MS; /* it is not out of reach */
	link_again(a->link, why);
}

/* Who has come shall have its share soon; but a Redis that greets again and again is not asked oftener for it. */
static void hurry(struct agent *a, uint64_t now_ms)
{
	if (!a->ledger.again) {
		a->hurried = 0;
	} else if (a->up && !a->asking && a->hurried < HURRY_MOST) {
		a->hurried++;
		ask(a, now_ms);
	}
}

static void on_answer(void *arg, const struct redisReply *from)
{
	struct agent *a = arg;
	struct wire_reply reply;
	uint64_t now_ms = clock_boot_ms();

	wire_parse(from, a->ledger.nasks, &reply);
	a->asking = false;
	a->loaded = reply.status != WIRE_NOT_LOADED;
	switch (reply.status) {
	case WIRE_OK:
		take(a, &reply, now_ms);
		break;
	case WIRE_HELLO:
		be_greeted(a, &reply);
		break;
	case WIRE_NOT_LOADED: /* it has done nothing: the same again, with the script */
		a->asking = true;
		link_eval(a->link, &a->args, true);
		break;
	case WIRE_STALE:
		stat_add(STAT_CLUSTER_LATE, 1);
		break;
	case WIRE_SUPERSEDED:
		refused(a, "another headgate has begun under the name of this node; give each its own cluster.node");
		break;
	case WIRE_REFUSED:
		refused(a, reply.why);
		break;
	case WIRE_BROKEN: /* it loads its data, is full, a replica, or another one than we think */
		say_error(a, reply.why);
		break;
	}
	wire_reply_release(&reply);
	hurry(a, now_ms);
}

static void on_up(void *arg, const char *run)
{
	struct agent *a = arg;

	snprintf(a->run, sizeof(a->run), "%s", run);
	a->up = true;
	a->asking = false;
	a->loaded = true; /* perhaps; it says so if not */
	ask(a, clock_boot_ms());
}

static void on_down(void *arg, const char *why)
{
	struct agent *a = arg;
	uint64_t now_ms = clock_boot_ms();

	if (a->up)
		stat_add(STAT_CLUSTER_LOST, 1);
	a->up = a->asking = false;
	if (now_ms < a->quiet_until_ms)
		return;
	a->quiet_until_ms = now_ms + QUIET_MS;
	a->was_lost = true;
	log_warning("cluster", "Redis at '%s' is out of reach: %s", a->heritage->conf->redis_address, why);
}

/* ---- the loop ---- */

/* Has the last lease lapsed? */
static bool is_alone(const struct agent *a, uint64_t now_ms)
{
	return now_ms >= a->renewed_ms + a->ledger.v_ms;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	uint64_t now_ms = clock_boot_ms();
	struct cluster_reading node;

	ledger_look(&a->ledger, a->shm, now_ms);
	cluster_read(a->shm, &node);
	if (node.state == CLUSTER_SHARING && is_alone(a, now_ms))
		say_state(a, CLUSTER_ALONE);
	if (a->up && !a->asking && now_ms >= a->sent_ms + ledger_pace_ms(&a->ledger))
		ask(a, now_ms);
	if (a->leave_ms && (node.state == CLUSTER_LEFT || now_ms >= a->leave_ms))
		a->leaving = true;
}

static void on_lifeline(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	a->leaving = true;
}

static void on_term(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	a->leave_ms = clock_boot_ms() + FAREWELL_MS;
	ledger_look(&a->ledger, a->shm, clock_boot_ms());
	if (a->up && !a->asking)
		ask(a, clock_boot_ms());
}

static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
	const struct agent_heritage *h = ((struct agent *)arg)->heritage;

	log_reopen(h->log_fd, h->conf->log_file, "cluster");
}

static bool open_events(struct agent *a)
{
	const struct timeval look = { 0, LOOK_MS * 1000 };
	const struct {
		int fd;
		short what;
		event_callback_fn fn;
		const struct timeval *period;
	} rows[EVENT_COUNT] = {
		[EVENT_LOOK] = { -1, EV_PERSIST, on_look, &look },
		[EVENT_LIFELINE] = { a->heritage->lifeline_fd, EV_READ, on_lifeline, NULL },
		[EVENT_TERM] = { SIGTERM, EV_SIGNAL | EV_PERSIST, on_term, NULL },
		[EVENT_REOPEN] = { SIGUSR1, EV_SIGNAL | EV_PERSIST, on_reopen, NULL },
	};

	a->base = event_base_new();
	for (int i = 0; a->base && i < EVENT_COUNT; i++) {
		a->event[i] = event_new(a->base, rows[i].fd, rows[i].what, rows[i].fn, a);
		if (!a->event[i] || event_add(a->event[i], rows[i].period) < 0)
			return false;
	}
	return a->base != NULL;
}

static void let_signals_in(void)
{
	static const int ignored[] = { SIGPIPE, SIGINT, SIGHUP, SIGQUIT, SIGUSR2 };
	sigset_t none;

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static unsigned timeout_ms(const struct conf *conf)
{
	uint64_t ms = conf->cluster_lease_ttl_ms / TIMEOUT_SHARE;

	if (ms < TIMEOUT_MIN_MS)
		return TIMEOUT_MIN_MS;
	return ms < TIMEOUT_MAX_MS ? (unsigned)ms : TIMEOUT_MAX_MS;
}

static void close_all(struct agent *a)
{
	if (a->link)
		link_close(a->link);
	wire_release(&a->args);
	ledger_release(&a->ledger);
	for (int i = 0; i < EVENT_COUNT; i++)
		if (a->event[i])
			event_free(a->event[i]);
	if (a->base)
		event_base_free(a->base);
	libevent_global_shutdown();
}

int agent_main(const struct agent_heritage *heritage)
{
	static const struct link_events events = { on_up, on_down, on_answer };
	const struct conf *conf = heritage->conf;
	struct agent a = { .heritage = heritage, .shm = heritage->shm };
	struct cluster_reading node;

	log_who("cluster agent");
	prctl(PR_SET_NAME, "headgate-agent", 0, 0, 0);
	shm_bind(a.shm, SHM_AGENT, heritage->wake_fds);
	cluster_read(a.shm, &node);
	hex(a.incarnation, &node.incarnation, sizeof(node.incarnation));
	ledger_open(&a.ledger, conf->cluster_lease_ttl_ms);
	ledger_resume(&a.ledger, a.shm);
	ledger_look(&a.ledger, a.shm, clock_boot_ms());
	if (!open_events(&a)) {
		log_error("cluster", "cannot set up the event loop: %s", strerror(errno));
		close_all(&a);
		return EXIT_FAILURE;
	}
	a.link = link_open(a.base, conf, timeout_ms(conf), &events, &a);
	let_signals_in();
	while (!a.leaving)
		event_base_loop(a.base, EVLOOP_ONCE);
	close_all(&a);
	log_who("worker");
	return EXIT_SUCCESS;
}
