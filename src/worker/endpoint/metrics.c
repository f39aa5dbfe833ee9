/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics.c - GET /metrics: all of stats.def, endings.def and readings.def in Prometheus' text
 * format (0.0.4). Reads the segment only and takes no place, so it answers when everything is full.
 *
 * All samples of a name stand together below its HELP and TYPE, as the format wants it.
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "shm/readings.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "shm/tally.h"

#define EXPECTED_BYTES 65536 /* one allocation, where there are few providers */
/* Of the buckets that the segment has, a step of sqrt(2), every second is told: steps of 2. */
#define BUCKET_STEP 2

/* There are thousands of numbers in an answer, and printf() is most of what they would cost. */
static void add_uint(struct buf *out, uint64_t n)
{
	char digits[24], *at = digits + sizeof(digits);

	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	buf_add(out, at, (size_t)(digits + sizeof(digits) - at));
}

static void add_family(struct buf *out, const struct stat_facts *facts)
{
	static const char *const types[] = { [STAT_COUNTER] = "counter", [STAT_GAUGE] = "gauge",
		[STAT_HISTOGRAM] = "histogram" };

	buf_addf(out, "# HELP %s ", facts->name);
	for (const char *c = facts->help; *c; c++)
		buf_adds(out, *c == '\\' ? "\\\\" : (char[]){ *c, 0 });
	buf_addf(out, "\n# TYPE %s %s\n", facts->name, types[facts->type]);
}

static void add_escaped(struct buf *out, const char *text)
{
	for (const char *c = text; *c; c++) {
		if (*c == '\\' || *c == '"')
			buf_adds(out, "\\");
		buf_adds(out, (char[]){ *c, 0 });
	}
}

/* name{label="text"} (label NULL: bare), ready for the value. */
static void add_name(struct buf *out, const char *name, const char *suffix, const char *label,
	const char *text)
{
	buf_adds(out, name);
	buf_adds(out, suffix);
	if (!label) {
		buf_adds(out, " ");
		return;
	}
	buf_adds(out, "{");
	buf_adds(out, label);
	buf_adds(out, "=\"");
	add_escaped(out, text);
	buf_adds(out, "\"} ");
}

static void add_count(struct buf *out, const struct stat_facts *facts, const char *label,
	const char *text, uint64_t n)
{
	add_name(out, facts->name, "", label, text);
	add_uint(out, n);
	buf_adds(out, "\n");
}

/* A gauge is signed: its parts are of many workers, and read one after the other. */
static void add_stat(struct buf *out, const struct stat_facts *facts, const char *label,
	const char *text, uint64_t n)
{
	if (facts->type == STAT_GAUGE && (int64_t)n < 0)
		n = 0;
	add_count(out, facts, label, text, n);
}

static void add_value(struct buf *out, const struct stat_facts *facts, const char *label,
	const char *text, double value)
{
	add_name(out, facts->name, "", label, text);
	buf_addf(out, "%.15g\n", value);
}

/* The providers that there are now: the segment may have places of others, gone since a reload. */
static unsigned providers(void)
{
	return endpoint.conf->nproviders;
}

static const char *provider_at(unsigned p)
{
	return endpoint.conf->providers[p].name;
}

static unsigned place_of(unsigned p)
{
	return endpoint.conf->providers[p].place;
}

/* ---- the parts ------------------------------------------------------------------ */

static void add_house(struct buf *out, uint64_t now_ms)
{
	double value[HOUSE_COUNT];

	house_read(endpoint.shm, now_ms, value);
	for (unsigned i = 0; i < HOUSE_COUNT; i++) {
		add_family(out, &house_facts[i]);
		add_value(out, &house_facts[i], NULL, NULL, value[i]);
	}
}

static void add_workers(struct buf *out, uint64_t now_ms)
{
	double value[WORKER_COUNT];
	char slot[16];

	for (unsigned i = 0; i < WORKER_COUNT; i++) {
		add_family(out, &worker_facts[i]);
		for (unsigned w = 0; w < shm_nslots(endpoint.shm); w++) {
			snprintf(slot, sizeof(slot), "%u", w);
			if (worker_read(endpoint.shm, w, now_ms, value))
				add_value(out, &worker_facts[i], "worker", slot, value[i]);
		}
	}
}

/* The keys of the configuration: the segment may have places of others, gone since a reload. */
static void add_clients(struct buf *out, uint64_t now_ms)
{
	const struct conf *conf = endpoint.conf;
	double (*value)[CLIENT_COUNT] = xcalloc(conf->nclients + 1, sizeof(*value));

	for (unsigned k = 0; k < conf->nclients; k++)
		client_read(endpoint.shm, conf->clients[k].place, now_ms, value[k]);
	for (unsigned i = 0; i < CLIENT_COUNT; i++) {
		add_family(out, &client_facts[i]);
		for (unsigned k = 0; k < conf->nclients; k++)
			add_value(out, &client_facts[i], "client", conf->clients[k].name, value[k][i]);
	}
	free(value);
}

static void add_statistics(struct buf *out)
{
	for (unsigned i = 0; i < STAT_ENDING_FIRST; i++) {
		add_family(out, &stat_facts[i]);
		add_stat(out, &stat_facts[i], NULL, NULL, stat_sum(endpoint.shm, (enum stat_id)i));
	}
	add_family(out, &rejection_facts);
	for (enum ending e = 0; e < END_COUNT; e++)
		if (ending_is_rejection(e))
			add_count(out, &rejection_facts, "reason", ending_facts[e].code,
				rejections_read(endpoint.shm, e));
	add_family(out, &endings_facts);
	for (enum ending e = 0; e < END_COUNT; e++)
		add_count(out, &endings_facts, "ending", ending_facts[e].code,
			stat_sum(endpoint.shm, STAT_ENDING_FIRST + (enum stat_id)e));
}

static void add_readings(struct buf *out, uint64_t now_ms)
{
	unsigned n = providers();
	double (*value)[PROVIDER_COUNT] = xcalloc(n + 1, sizeof(*value));

	for (unsigned p = 0; p < n; p++)
		provider_read(endpoint.shm, place_of(p), now_ms, value[p]);
	for (unsigned i = 0; i < PROVIDER_COUNT; i++) {
		add_family(out, &provider_facts[i]);
		for (unsigned p = 0; p < n; p++)
			add_value(out, &provider_facts[i], "provider", provider_at(p), value[p][i]);
	}
	free(value);
}

/* The upper bound of a bucket in seconds. */
static const char *bound_text(unsigned bucket)
{
	static char texts[STATS_BUCKETS][16];

	if (!texts[bucket][0])
		snprintf(texts[bucket], sizeof(texts[0]), bucket == STATS_BUCKETS - 1 ? "+Inf" : "%g",
			(double)stats_bucket_us(bucket) / 1e6);
	return texts[bucket];
}

static void add_bucket(struct buf *out, const char *head, unsigned bucket, uint64_t below)
{
	buf_adds(out, head);
	buf_adds(out, bound_text(bucket));
	buf_adds(out, "\"} ");
	add_uint(out, below);
	buf_adds(out, "\n");
}

/* labels: of one who has this histogram, "provider=\"x\"". */
static void add_histogram(
	struct buf *out, const char *name, const char *labels, const struct stats_histogram *h)
{
	struct buf head = BUF_INIT;
	uint64_t below = 0;

	buf_addf(&head, "%s_bucket{%s,le=\"", name, labels);
	for (unsigned i = 0; i < STATS_BUCKETS - 1; i++) {
		below += h->bucket[i];
		if (i % BUCKET_STEP == 0)
			add_bucket(out, head.data, i, below);
	}
	add_bucket(out, head.data, STATS_BUCKETS - 1, h->count);
	buf_addf(out, "%s_sum{%s} %.6f\n%s_count{%s} ", name, labels, (double)h->sum_us / 1e6, name, labels);
	add_uint(out, h->count);
	buf_adds(out, "\n");
	buf_release(&head);
}

static void add_provider_histogram(struct buf *out, unsigned p, enum pstat_id id)
{
	struct buf labels = BUF_INIT;
	struct stats_histogram h;

	buf_addf(&labels, "provider=\"%s\"", provider_at(p));
	pstat_histogram(endpoint.shm, place_of(p), id, &h);
	add_histogram(out, pstat_facts[id].name, labels.data, &h);
	buf_release(&labels);
}

static void add_provider_statistics(struct buf *out)
{
	for (unsigned i = 0; i < PSTAT_COUNT; i++) {
		enum pstat_id id = (enum pstat_id)i;

		add_family(out, &pstat_facts[i]);
		for (unsigned p = 0; p < providers(); p++) {
			if (pstat_facts[i].type == STAT_HISTOGRAM)
				add_provider_histogram(out, p, id);
			else
				add_stat(out, &pstat_facts[i], "provider", provider_at(p),
					pstat_sum(endpoint.shm, place_of(p), id));
		}
	}
}

/* Several labels; a name may be any text. */
static void add_labels(struct buf *out, const struct tally_labels *labels, const struct tally_reading *r)
{
	buf_adds(out, labels->constant);
	if (labels->group)
		buf_addf(out, "%s=\"%s\",", labels->group, r->group);
	buf_addf(out, "%s=\"", labels->name);
	add_escaped(out, r->name);
	buf_adds(out, "\"");
}

static void add_model_times(struct buf *out)
{
	struct buf labels = BUF_INIT;
	struct stats_histogram h;
	struct tally_reading r;

	for (unsigned time = 0; time < TALLY_TIME_COUNT; time++) {
		add_family(out, &tally_time_facts[time]);
		for (unsigned i = 0; i < SHM_MODEL_TALLIES; i++) {
			if (!tally_read(endpoint.shm, i, &r))
				continue;
			buf_clear(&labels);
			add_labels(&labels, tally_time_labels[time], &r);
			tally_histogram(endpoint.shm, i, (enum tally_time)time, &h);
			add_histogram(out, tally_time_facts[time].name, labels.data, &h);
		}
	}
	buf_release(&labels);
}

static void add_usage(struct buf *out, const char *labels, const struct tally_usage_histogram *h)
{
	const char *name = tally_usage_facts.name;
	uint64_t below = 0;

	for (unsigned i = 0; i < TALLY_USAGE_BUCKETS - 1; i++) {
		below += h->bucket[i];
		buf_addf(out, "%s_bucket{%s,le=\"%" PRIu64 "\"} %" PRIu64 "\n", name, labels, tally_usage_bound(i), below);
	}
	buf_addf(out, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, h->count);
	buf_addf(out, "%s_sum{%s} %" PRIu64 "\n%s_count{%s} %" PRIu64 "\n", name, labels, h->sum, name, labels, h->count);
}

static void add_model_usage(struct buf *out)
{
	struct tally_usage_histogram h;
	struct buf labels = BUF_INIT;
	struct tally_reading r;

	add_family(out, &tally_usage_facts);
	for (unsigned i = 0; i < SHM_MODEL_TALLIES; i++)
		for (unsigned which = 0; tally_read(endpoint.shm, i, &r) && which < TALLY_USAGE_COUNT; which++) {
			buf_clear(&labels);
			add_labels(&labels, &tally_usage_labels[which], &r);
			tally_usage_histogram(endpoint.shm, i, (enum tally_usage)which, &h);
			add_usage(out, labels.data, &h);
		}
	buf_release(&labels);
}

static void add_tallies(struct buf *out)
{
	for (unsigned kind = 0; kind < TALLY_KIND_COUNT; kind++)
		for (unsigned c = 0; c < TALLY_COUNT; c++) {
			struct tally_reading r;

			add_family(out, &tally_facts[kind][c]);
			for (unsigned i = 0; i < SHM_TALLIES; i++) {
				if (!tally_read(endpoint.shm, i, &r) || r.kind != kind)
					continue;
				buf_addf(out, "%s{", tally_facts[kind][c].name);
				add_labels(out, &tally_labels[kind], &r);
				buf_addf(out, "} %" PRIu64 "\n", r.value[c]);
			}
		}
}

static void answer(struct exchange *x)
{
	static const struct exchange_header headers[] = {
		{ "Content-Type", "text/plain; version=0.0.4; charset=utf-8" },
		{ "Cache-Control", "no-store" }
	};
	static const struct stat_facts build = { "headgate_build_info", "Always 1; the version is in the label.",
		STAT_GAUGE };
	uint64_t now_ms = clock_ms();
	struct buf out = BUF_INIT;

	buf_reserve(&out, EXPECTED_BYTES);
	add_family(&out, &build);
	add_count(&out, &build, "version", HEADGATE_VERSION, 1);
	add_house(&out, now_ms);
	add_workers(&out, now_ms);
	add_statistics(&out);
	add_readings(&out, now_ms);
	add_clients(&out, now_ms);
	add_provider_statistics(&out);
	add_tallies(&out);
	add_model_times(&out);
	add_model_usage(&out);
	exchange_respond(x, 200, headers, ARRAY_SIZE(headers), out.data, out.len);
	buf_release(&out);
}

const struct exchange_app metrics_app = {
	.name = "metrics", .on_start = answer, .on_close = endpoint_nothing_held
};
