/* SPDX-License-Identifier: BSD-2-Clause */
/* ws_terms.c - the offers of Sec-WebSocket-Extensions (RFC 6455, 9.1; RFC 7692, 5 and 7.1); see ws_deflate.h. */
#include "base/base.h"
#include "worker/http/ws_deflate.h"

#include <strings.h>

#define NAME "permessage-deflate"
/* Windows that zlib can do; clients may ask for 8 as well, which it cannot. */
#define WINDOW_MIN 9
#define WINDOW_MAX 15

#define TOKEN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~"

struct word {
	const char *at;
	size_t len; /* 0: there is none */
};

static void skip_blanks(const char **at)
{
	*at += strspn(*at, " \t");
}

static struct word take_token(const char **at)
{
	struct word w = { *at, strspn(*at, TOKEN) };

	*at += w.len;
	skip_blanks(at);
	return w;
}

/* A value may be quoted, but must be a token all the same (9.1). */
static struct word take_value(const char **at)
{
	bool quoted = **at == '"';
	struct word w = { *at + quoted, strspn(*at + quoted, TOKEN) };

	*at = w.at + w.len;
	if (quoted && **at != '"')
		w.len = 0;
	else if (quoted)
		++*at;
	skip_blanks(at);
	return w;
}

static bool is(struct word w, const char *text)
{
	return w.len == strlen(text) && !strncasecmp(w.at, text, w.len);
}

/* 8 to 15, without a leading zero; 0: it is none of these. */
static unsigned bits_of(struct word w)
{
	if (w.len == 1 && (*w.at == '8' || *w.at == '9'))
		return (unsigned)(*w.at - '0');
	if (w.len == 2 && w.at[0] == '1' && w.at[1] >= '0' && w.at[1] <= '5')
		return 10 + (unsigned)(w.at[1] - '0');
	return 0;
}

/* The parameters of one offer: each at most once. */
struct offer {
	bool wrong; /* not to be taken */
	unsigned seen;
	unsigned server_bits; /* 0: not asked for */
};

static void take_parameter(struct offer *o, struct word name, struct word value)
{
	static const struct {
		const char *name;
		bool may_be_bare, may_have_value;
	} known[] = {
		{ "server_no_context_takeover", true, false },
		{ "client_no_context_takeover", true, false },
		{ "server_max_window_bits", false, true },
		{ "client_max_window_bits", true, true },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		if (!is(name, known[i].name))
			continue;
		if (o->seen & 1u << i ||
			!(value.len ? known[i].may_have_value : known[i].may_be_bare) ||
			(value.len && !bits_of(value)))
			o->wrong = true;
		o->seen |= 1u << i;
		if (known[i].may_have_value && !known[i].may_be_bare)
			o->server_bits = bits_of(value);
		return;
	}
	o->wrong = true;
}

/* One extension with its parameters. False: malformed. */
static bool take_offer(const char **at, struct ws_terms *terms)
{
	struct word extension = take_token(at);
	struct offer offer = { 0 };

	if (!extension.len)
		return false;
	while (**at == ';') {
		struct word name, value = { 0 };

		++*at;
		skip_blanks(at);
		name = take_token(at);
		if (!name.len)
			return false;
		if (**at == '=') {
			++*at;
			skip_blanks(at);
			value = take_value(at);
			if (!value.len)
				return false;
		}
		take_parameter(&offer, name, value);
	}
	if (terms->window_bits || !is(extension, NAME) || offer.wrong ||
		(offer.server_bits && offer.server_bits < WINDOW_MIN))
		return true;
	terms->window_asked = offer.server_bits;
	terms->window_bits = (unsigned char)(offer.server_bits ? offer.server_bits : WINDOW_MAX);
	return true;
}

enum ws_offer ws_deflate_choose(
	const struct exchange_header *fields, unsigned nfields, struct ws_terms *terms)
{
	*terms = (struct ws_terms){ 0 };
	for (unsigned i = 0; i < nfields; i++) {
		const char *at = fields[i].value;

		if (strcasecmp(fields[i].name, "Sec-WebSocket-Extensions"))
			continue;
		while (*(at += strspn(at, ", \t")))
			if (!take_offer(&at, terms) || (*at && *at != ','))
				return WS_OFFER_MALFORMED;
	}
	return terms->window_bits ? WS_OFFER_TAKEN : WS_OFFER_NONE;
}

void ws_deflate_answer(const struct ws_terms *terms, struct buf *out)
{
	buf_adds(out, NAME "; server_no_context_takeover; client_no_context_takeover");
	if (terms->window_asked)
		buf_addf(out, "; server_max_window_bits=%u", terms->window_bits);
}
