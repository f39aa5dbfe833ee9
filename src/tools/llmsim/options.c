/* SPDX-License-Identifier: BSD-2-Clause */
/* options.c - see options.h. */
#include "base/base.h"
#include "tools/llmsim/options.h"
#include "tools/llmsim/text.h"

#include <getopt.h>

#define EXIT_USAGE 2
#define FIRST_OPTION 256 /* what getopt_long returns for the first row */

enum option_type {
	OPTION_COUNT,
	OPTION_REAL,
	OPTION_STRING,
	OPTION_LISTEN,
	OPTION_MODE,
	OPTION_KEY,
	OPTION_FAULT
};

static const struct {
	const char *name, *argument, *help;
	enum option_type type;
	size_t offset;
	double least, most;
} rows[] = {
#define OPTION(name, argument, type, field, least, most, help)                                 \
	{name, argument, help, OPTION_##type, offsetof(struct options, field), least, most},
#include "tools/llmsim/options.def"
#undef OPTION
};

static void help(void)
{
	puts("usage: llmsim [options]\n"
	     "A simulated OpenAI-compatible provider, for tests, demos and sizing.\n");
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s %s", rows[i].name, rows[i].argument);
		printf("  %-24s%s\n", left, rows[i].help);
	}
	puts("  --help                  this text\n"
	     "\n"
	     "A request whose last message contains [[sim:NAME,key=value,...]] gets that.");
	fault_help(stdout);
}

static void NORETURN complain(unsigned row, const char *value, const char *advice)
{
	fprintf(stderr, "llmsim: '--%s %s': %s\n", rows[row].name, value, advice);
	exit(EXIT_USAGE);
}

static void set_number(unsigned row, const char *value, void *field)
{
	char advice[96], *end;
	double number = strtod(value, &end);

	if (end == value || *end || !(number >= rows[row].least) || number > rows[row].most) {
		snprintf(advice, sizeof(advice), "give a number from %.0f to %.0f",
		        rows[row].least, rows[row].most);
		complain(row, value, advice);
	}
	if (rows[row].type == OPTION_REAL)
		*(double *)field = number;
	else
		*(int64_t *)field = (int64_t)number;
}

static void set_listen(struct options *o, unsigned row, const char *value)
{
	const char *colon = strrchr(value, ':');
	const char *host = value;
	size_t len;

	if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	        strtol(colon + 1, NULL, 10) > UINT16_MAX)
		complain(row, value, "give HOST:PORT, such as 127.0.0.1:8900 or [::1]:0");
	len = (size_t)(colon - value);
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	free(o->host);
	free(o->port);
	o->host = xmemdup0(host, len);
	o->port = xstrdup(colon + 1);
}

static void set_fault(struct options *o, unsigned row, const char *value)
{
	struct buf why = BUF_INIT;

	o->faults = xrealloc(o->faults, (o->fault_count + 1) * sizeof(*o->faults));
	if (!fault_parse(&o->faults[o->fault_count++], value, strlen(value), true, &why))
		complain(row, value, why.data);
}

static void set_key(struct options *o, unsigned row, const char *value)
{
	struct buf why = BUF_INIT;

	o->accounts = xrealloc(o->accounts, (o->account_count + 1) * sizeof(*o->accounts));
	if (!account_parse(&o->accounts[o->account_count++], value, &why))
		complain(row, value, why.data);
}

static void set(struct options *o, unsigned row, const char *value)
{
	void *field = (char *)o + rows[row].offset;
	enum text_mode mode;

	switch (rows[row].type) {
	case OPTION_COUNT:
	case OPTION_REAL:
		set_number(row, value, field);
		break;
	case OPTION_STRING:
		*(const char **)field = value;
		break;
	case OPTION_LISTEN:
		set_listen(o, row, value);
		break;
	case OPTION_MODE:
		if (!text_mode_of(value, &mode))
			complain(row, value, "give prose, tokens or echo");
		*(int64_t *)field = mode;
		break;
	case OPTION_KEY:
		set_key(o, row, value);
		break;
	case OPTION_FAULT:
		set_fault(o, row, value);
		break;
	}
}

void options_parse(struct options *o, int argc, char **argv)
{
	struct option longs[ARRAY_SIZE(rows) + 2] = {0};
	int got;

	*o = (struct options){
	        .host = xstrdup("127.0.0.1"),
	        .port = xstrdup("0"),
	        .tokens = 20,
	        .rate = 50,
	        .seed = 1,
	        .text = TEXT_PROSE,
	        .limits = {.minute_ms = 60000},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		longs[i] = (struct option){
		        rows[i].name, required_argument, NULL, FIRST_OPTION + (int)i};
	longs[ARRAY_SIZE(rows)] = (struct option){"help", no_argument, NULL, 'h'};

	while ((got = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (got == 'h') {
			help();
			exit(0);
		}
		if (got < FIRST_OPTION) {
			fputs("llmsim: try 'llmsim --help'\n", stderr);
			exit(EXIT_USAGE);
		}
		set(o, (unsigned)(got - FIRST_OPTION), optarg);
	}
	if (!o->account_count) {
		o->accounts = xcalloc(1, sizeof(*o->accounts)); /* everybody's */
		o->account_count = 1;
	}
	if (optind < argc) {
		fprintf(stderr, "llmsim: '%s': options only, please; try 'llmsim --help'\n",
		        argv[optind]);
		exit(EXIT_USAGE);
	}
}

void options_release(struct options *o)
{
	free(o->host);
	free(o->port);
	free(o->faults);
	for (size_t i = 0; i < o->account_count; i++)
		account_release(&o->accounts[i]);
	free(o->accounts);
}
