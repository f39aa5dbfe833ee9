/* SPDX-License-Identifier: BSD-2-Clause */
/* screen.c - see watch.h: the most important first, for what does not fit is cut at the bottom. */
#include "base/base.h"
#include "tools/headgatestat/watch.h"

#include "base/clock.h"
#include "shm/readings.h"
#include "tools/headgatestat/stat.h"

#define ENDINGS_MAX 8
#define LINE_BYTES 512

void screen_line(struct screen *s, enum screen_style style, const char *fmt, ...)
{
	static const char *const codes[] = { [SCREEN_PLAIN] = "", [SCREEN_TITLE] = "\033[1m",
		[SCREEN_HEAD] = "\033[4m", [SCREEN_WARN] = "\033[33m", [SCREEN_BAD] = "\033[1;31m" };
	char text[LINE_BYTES];
	va_list ap;

	if (s->ansi && s->used == s->rows)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!s->ansi) {
		buf_addf(&s->out, "%s\n", text);
		return;
	}
	/* no line end behind the last row: that would scroll */
	buf_addf(&s->out, "%s%s%.*s%s\033[K", s->used ? "\n" : "", codes[style], (int)s->columns, text,
		*codes[style] ? "\033[0m" : "");
	s->used++;
}

/* "812", "12.3", "0.25", "1.2M". */
static const char *amount(double n, char out[16])
{
	static const char *const units[] = { "", "k", "M", "G" };
	unsigned u = 0;

	for (; n >= 9999.5 && u + 1 < ARRAY_SIZE(units); u++)
		n /= 1000;
	snprintf(out, 16, n >= 99.95 || n == 0 ? "%.0f%s" : n >= 9.995 ? "%.1f%s" : "%.2f%s", n, units[u]);
	return out;
}

static const char *wait_text(double ms, char out[16])
{
	if (ms < 0)
		snprintf(out, 16, "-");
	else if (ms < 999.5)
		snprintf(out, 16, "%.0fms", ms);
	else
		snprintf(out, 16, "%.1fs", ms / 1000);
	return out;
}

/* "3/25"; without a limit "3". */
static const char *share(double used, double limit, char out[32])
{
	if (limit > 0)
		snprintf(out, 32, "%.0f/%.0f", used, limit);
	else
		snprintf(out, 32, "%.0f", used);
	return out;
}

static enum screen_style style_of(double used, double limit)
{
	if (limit <= 0 || used < 0.8 * limit)
		return SCREEN_PLAIN;
	return used < limit ? SCREEN_WARN : SCREEN_BAD;
}

static void show_head(struct screen *s, const struct shm *shm, const struct lately *l, uint64_t now_ms)
{
	double value[HOUSE_COUNT];
	char when[32], up[32];

	house_read(shm, now_ms, value);
	screen_line(s, SCREEN_TITLE, "headgate   master %d%s   up %s   %.0f workers%s   %s", shm_master_pid(shm),
		shm_master_alive(shm) ? "" : " (not running)",
		stat_duration(stat_age_ms(now_ms, shm_started_ms(shm)), up), value[HOUSE_WORKERS],
		value[HOUSE_DRAINING] > 0 ? "   draining" : "", clock_wall_text(when));
	screen_line(s, SCREEN_PLAIN, "%s", "");
	screen_line(s, style_of(value[HOUSE_ACTIVE_CONNECTIONS], value[HOUSE_MAX_CONNECTIONS]),
		"places     %.0f/%.0f in use   %.0f waiting   %" PRIu64 " WebSockets   %" PRIu64
		" streams   %.0f pending",
		value[HOUSE_ACTIVE_CONNECTIONS], value[HOUSE_MAX_CONNECTIONS],
		value[HOUSE_WAITING_CONNECTIONS], stat_sum(shm, STAT_WEBSOCKETS),
		stat_sum(shm, STAT_STREAMS), value[HOUSE_PENDING_CONNECTIONS]);
}

static void show_rates(struct screen *s, const struct lately *l)
{
	char requests[16], admitted[16], away[16], bytes[16], turns[16];

	screen_line(s, SCREEN_PLAIN,
		"a second   %s requests   %s admitted   %s turned away at the door   %sB sent   %s loop turns",
		amount(lately_rate(l, STAT_REQUESTS), requests), amount(lately_rate(l, STAT_ADMITTED), admitted),
		amount(lately_rate(l, STAT_REJECTED_FULL), away),
		amount(lately_rate(l, STAT_CLIENT_BYTES_OUT), bytes),
		amount(lately_rate(l, STAT_LOOP_TURNS), turns));
	screen_line(s, SCREEN_PLAIN, "           (rates and waits of the last %.0f s)", lately_span_s(l));
	screen_line(s, SCREEN_PLAIN, "%s", "");
}

static void show_provider(struct screen *s, const struct shm *shm, const struct lately *l, unsigned p,
	uint64_t now_ms)
{
	char flight[32], rpm[32], requests[16], tokens[16], failed[16], p50[16], p99[16], first[16];
	double value[PROVIDER_COUNT];
	bool open;

	provider_read(shm, p, now_ms, value);
	open = value[PROVIDER_CIRCUIT_OPEN] > 0;
	screen_line(s, open ? SCREEN_BAD : style_of(value[PROVIDER_IN_FLIGHT], value[PROVIDER_CONCURRENT]),
		"%-14s %11s %7.0f %8s %8s %8s %8s %8s %11s %8" PRIu64 " %8s  %s", shm_provider_name(shm, p),
		share(value[PROVIDER_IN_FLIGHT], value[PROVIDER_CONCURRENT], flight), value[PROVIDER_WAITING],
		wait_text(lately_wait_ms(l, p, LATELY_QUEUE_WAIT, 0.5), p50),
		wait_text(lately_wait_ms(l, p, LATELY_QUEUE_WAIT, 0.99), p99),
		wait_text(lately_wait_ms(l, p, LATELY_FIRST_TOKEN, 0.5), first),
		amount(lately_provider_rate(l, p, PSTAT_ATTEMPTS), requests),
		amount(lately_provider_rate(l, p, PSTAT_EVENTS), tokens),
		share(value[PROVIDER_RPM_USED], value[PROVIDER_RPM_LIMIT], rpm),
		pstat_sum(shm, p, PSTAT_SOCKETS_OPEN),
		amount(lately_provider_rate(l, p, PSTAT_FAILED), failed), open ? "open" : "closed");
}

static void show_providers(struct screen *s, const struct shm *shm, const struct lately *l, uint64_t now_ms)
{
	if (!shm_nproviders(shm))
		return;
	screen_line(s, SCREEN_HEAD, "%-14s %11s %7s %8s %8s %8s %8s %8s %11s %8s %8s  %s", "PROVIDER", "IN FLIGHT",
		"QUEUED", "WAIT P50", "WAIT P99", "1ST P50", "REQ/S", "TOK/S", "RPM", "SOCKETS", "FAILED/S",
		"CIRCUIT");
	for (unsigned p = 0; p < shm_nproviders(shm); p++)
		show_provider(s, shm, l, p, now_ms);
	screen_line(s, SCREEN_PLAIN, "%s", "");
}

/* Not complete, by how many of them there are a second, or were in all. */
static void show_endings(struct screen *s, const struct shm *shm, const struct lately *l)
{
	bool told[END_COUNT] = { [END_COMPLETE] = true };
	char lately[16];

	screen_line(s, SCREEN_HEAD, "%-34s %8s %12s", "TURNED AWAY OR FAILED", "/S", "IN ALL");
	for (unsigned n = 0; n < ENDINGS_MAX; n++) {
		enum ending best = END_COUNT;
		double best_rate = 0;
		uint64_t best_sum = 0;

		for (enum ending e = 0; e < END_COUNT; e++) {
			double rate = lately_rate(l, STAT_ENDING_FIRST + (enum stat_id)e);
			uint64_t sum = stat_sum(shm, STAT_ENDING_FIRST + (enum stat_id)e);

			if (told[e] || !sum || (best < END_COUNT && (rate < best_rate ||
				(rate == best_rate && sum <= best_sum))))
				continue;
			best = e;
			best_rate = rate;
			best_sum = sum;
		}
		if (best == END_COUNT)
			break;
		told[best] = true;
		screen_line(s, SCREEN_PLAIN, "%-34s %8s %12" PRIu64, ending_facts[best].code,
			amount(best_rate, lately), best_sum);
	}
	screen_line(s, SCREEN_PLAIN, "%s", "");
}

static void show_workers(struct screen *s, const struct shm *shm, const struct lately *l, uint64_t now_ms)
{
	char age[32], rate[16];

	screen_line(s, SCREEN_HEAD, "%-6s %9s %-9s %5s %9s %10s %8s %10s %8s %8s", "WORKER", "PID", "STATE", "LIFE",
		"AGE", "HEARTBEAT", "SOCKETS", "WEBSOCKETS", "STREAMS", "REQ/S");
	for (unsigned i = 0; i < shm_nslots(shm); i++) {
		struct slot_reading r;
		uint64_t silent_ms;

		shm_slot_read(shm, i, &r);
		if (r.state == SLOT_EMPTY)
			continue;
		silent_ms = stat_age_ms(now_ms, r.heartbeat_ms);
		screen_line(s, silent_ms > 2000 ? SCREEN_BAD : r.state == SLOT_READY ? SCREEN_PLAIN : SCREEN_WARN,
			"%-6u %9d %-9s %5u %9s %8" PRIu64 "ms %8" PRIu64 " %10" PRIu64 " %8" PRIu64 " %8s", i,
			r.pid, shm_slot_state_name(r.state), r.generation,
			stat_duration(stat_age_ms(now_ms, r.started_ms), age), silent_ms,
			stat_of_slot(shm, i, STAT_SOCKETS), stat_of_slot(shm, i, STAT_WEBSOCKETS),
			stat_of_slot(shm, i, STAT_STREAMS), amount(lately_worker_rate(l, i), rate));
	}
	screen_line(s, SCREEN_PLAIN, "%s", "");
}

void screen_show(struct screen *s, const struct shm *shm, const struct lately *l, uint64_t now_ms)
{
	show_head(s, shm, l, now_ms);
	show_rates(s, l);
	show_providers(s, shm, l, now_ms);
	show_workers(s, shm, l, now_ms);
	show_endings(s, shm, l);
}
