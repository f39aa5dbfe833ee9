/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * h2_flood.c - what a client may do, but not all the time: two budgets per connection, which fill up again.
 *
 * Known floods: streams opened and reset at once (CVE-2023-44487), pings, settings, empty frames
 * (CVE-2019-9512, -9515, -9518), answers that are asked for and never taken (CVE-2019-9511, -9517), header
 * blocks of many CONTINUATIONs (CVE-2024-28182).
 */
#include "base/base.h"
#include "worker/http/h2.h"
#include "base/clock.h"

/* Of one header block: 16 KiB each, which is far more than max_header_size. */
#define CONTINUATIONS_MAX 8

/* What costs us work (0) and what is only to be parsed (1). */
static const struct {
	unsigned size;
	unsigned per_second;
} budget[] = { { 200, 33 }, { 1000, 200 } };

static const struct {
	unsigned budget;
	unsigned cost;
	const char *text;
} nuisance[H2_NUISANCE_COUNT] = {
	[H2_RESET] = { 0, 1, "streams opened and reset" },
	[H2_STALL] = { 0, 10, "answers asked for and not taken" },
	[H2_REFUSED] = { 0, 1, "streams and frames that are against the rules" },
	[H2_CONTROL] = { 1, 1, "control frames" },
	[H2_EMPTY] = { 1, 1, "empty frames" },
};

static void refill(struct h2_bucket *bucket, unsigned which)
{
	uint64_t now_ms = clock_ms();
	uint64_t more = (now_ms - bucket->filled_ms) * budget[which].per_second / 1000;

	if (!more)
		return;
	bucket->filled_ms = now_ms;
	more += bucket->left;
	bucket->left = more < budget[which].size ? (unsigned)more : budget[which].size;
}

bool h2_tolerates(struct h2 *h2, enum h2_nuisance what)
{
	unsigned which = nuisance[what].budget;
	struct h2_bucket *bucket = &h2->bucket[which];

	refill(bucket, which);
	if (bucket->left < nuisance[what].cost) {
		h2->flood = nuisance[what].text;
		return false;
	}
	bucket->left -= nuisance[what].cost;
	return true;
}

void h2_expect_answers(struct h2 *h2)
{
	if (h2->bucket[1].left + 2 <= budget[1].size)
		h2->bucket[1].left += 2;
}

void h2_floods_begin(struct h2 *h2)
{
	for (unsigned i = 0; i < ARRAY_SIZE(budget); i++)
		h2->bucket[i] = (struct h2_bucket){ budget[i].size, clock_ms() };
}

bool h2_tolerates_frame(struct h2 *h2, const nghttp2_frame_hd *hd)
{
	switch (hd->type) {
	case NGHTTP2_DATA:
		return hd->length || hd->flags & NGHTTP2_FLAG_END_STREAM || h2_tolerates(h2, H2_EMPTY);
	case NGHTTP2_HEADERS:
		h2->continuations = 0;
		break;
	case NGHTTP2_CONTINUATION:
		if (++h2->continuations > CONTINUATIONS_MAX) {
			h2->flood = "CONTINUATION frames";
			return false;
		}
		return hd->length || h2_tolerates(h2, H2_EMPTY);
	case NGHTTP2_RST_STREAM:
		return h2_tolerates(h2, h2_stream_at(h2->session, hd->stream_id) ? H2_RESET : H2_CONTROL);
	case NGHTTP2_SETTINGS:
	case NGHTTP2_PING:
		return hd->flags & NGHTTP2_FLAG_ACK || h2_tolerates(h2, H2_CONTROL);
	case NGHTTP2_PRIORITY:
	case NGHTTP2_WINDOW_UPDATE:
		return h2_tolerates(h2, H2_CONTROL);
	}
	return true;
}
