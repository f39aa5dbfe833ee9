/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sse.h - reads an event stream (WHATWG HTML, section 9.2) from bytes that come in
 * blocks of any size, and calls back once per event.
 *
 * An event that lies whole in one block, with one data line, is not copied: the
 * callback gets pointers into the caller's bytes. Only what is split over blocks,
 * or has several data lines, is put together in memory of the parser's own.
 *
 * Line ends are LF, CRLF and CR; one leading BOM is dropped; an event without a
 * data line is dropped; so is an unterminated last one, which needs no call: at
 * the end of the stream, sse_at_boundary() tells whether there was one. Bytes are
 * passed as they come: whoever needs valid UTF-8 checks the data.
 */
#ifndef WORKER_PROVIDER_SSE_H
#define WORKER_PROVIDER_SSE_H

#include "base/base.h"
#include "base/buf.h"

/*
 * An event: name ("" if it has none; not NUL-terminated) and data (not NUL-
 * terminated), valid during the call only. False stops the parser for good. It
 * must not push to the parser nor release it.
 */
typedef bool (*sse_event_fn)(
        void *arg, const char *name, size_t name_len, const char *data, size_t len);

enum sse_result {
	SSE_MORE,     /* all bytes taken; go on */
	SSE_STOPPED,  /* on_event said so; the rest of the block was not read */
	SSE_TOO_LONG, /* an event (or comment line) of more than event_max bytes */
};

struct sse {
	/* For the caller to read: */
	uint64_t events;   /* handed to on_event */
	uint64_t comments; /* comment lines, keep-alives mostly */
	uint64_t retry_ms; /* the last "retry" field; 0: none came */
	struct buf id;     /* the last "id" field; in on_event: the event's id */

	/* The parser's own: */
	sse_event_fn on_event;
	void *arg;
	size_t event_max;
	enum sse_result result; /* once it is not SSE_MORE, it stays */
	unsigned bom;           /* bytes of a BOM seen; 3 once that is settled */
	bool after_cr;          /* an LF now belongs to the CR before it */
	bool in_event;          /* a field line came since the last blank line */
	bool has_data;
	size_t event_bytes; /* in the lines of this event so far */
	const char *next;   /* in on_event: behind the event's last line, in the block */
	const char *data;   /* of this event: in the block, in `line` or in `data_held` */
	size_t data_len;
	const char *name; /* likewise */
	size_t name_len;
	struct buf line; /* a line that began in an earlier block */
	struct buf data_held;
	struct buf name_held;
};

/*
 * Start afresh; allocates nothing. event_max is the most bytes that the lines of
 * one event may have together (line ends not quite counted), or one comment line.
 */
void sse_init(struct sse *sse, size_t event_max, sse_event_fn on_event, void *arg);
/* Gives the memory back; sse_init() again, or nothing more. */
void sse_release(struct sse *sse);
/*
 * Read one block; calls on_event for each event that ends in it. The verdict does
 * not depend on how the stream is cut into blocks. After anything but SSE_MORE,
 * further pushes return the same and read nothing.
 */
MUST_CHECK enum sse_result sse_push(struct sse *sse, const char *bytes, size_t len);
/*
 * Do the bytes pushed so far end between two events, so that whoever passes them on
 * may put a comment or an event of its own behind them? True before the first byte,
 * after a blank line, and after comments that follow one. (After a CR it does not
 * wait for a possible LF: one that comes later is only one blank line more.) A BOM is
 * dropped by readers only at the very start: nothing should be put before it. Ask
 * after sse_push() returned SSE_MORE, not from within on_event.
 */
bool sse_at_boundary(const struct sse *sse);

#endif
