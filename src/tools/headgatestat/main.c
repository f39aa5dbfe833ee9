/* SPDX-License-Identifier: BSD-2-Clause */
/* main.c - headgatestat: looks into the segment of a running headgate, read-only. */
#include "base/base.h"
#include "tools/headgatestat/stat.h"
#include "tools/headgatestat/watch.h"

#include <getopt.h>

#define EXIT_CANNOT_ATTACH 2

enum mode { MODE_TABLE, MODE_JSON, MODE_CHECK, MODE_WATCH };

struct options {
	char *path;
	enum mode mode;
	bool all;
};

static void print_usage(FILE *to)
{
	fputs("usage: headgatestat [-a] [-j | -w | --check] [-r DIR | -f FILE]\n"
	      "       headgatestat --doc | -V | -h\n"
	      "  -r, --run-dir=DIR  the run directory of the headgate to look at\n"
	      "                     ($HEADGATE_RUN_DIR, or " HEADGATE_RUNSTATEDIR "/headgate)\n"
	      "  -f, --file=FILE    its segment, if that is elsewhere than DIR/segment\n"
	      "  -a, --all          also show counters that are 0\n"
	      "  -j, --json         everything as one JSON object\n"
	      "  -w, --watch        a live screen, until it is interrupted or q is pressed\n"
	      "      --check        do the books balance? exit status 0: yes, 1: no\n"
	      "      --doc          every statistic and what it means, as text for the manual\n"
	      "  -h, --help         this text\n"
	      "  -V, --version      the version\n"
	      "Exit status 2: the segment cannot be read.\n", to);
}

/* Standard output to a full disk is a failure, too. */
static bool flush(void)
{
	if (fflush(stdout) == 0)
		return true;
	fprintf(stderr, "headgatestat: cannot write: %s\n", strerror(errno));
	return false;
}

static void set_path(struct options *o, char *path)
{
	free(o->path);
	o->path = path;
}

static void parse(struct options *o, int argc, char **argv)
{
	static const struct option known[] = { { "run-dir", 1, NULL, 'r' }, { "file", 1, NULL, 'f' },
		{ "all", 0, NULL, 'a' }, { "json", 0, NULL, 'j' }, { "watch", 0, NULL, 'w' },
		{ "check", 0, NULL, 'c' },
		{ "doc", 0, NULL, 'd' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 } };
	const char *dir = getenv("HEADGATE_RUN_DIR");
	int option;

	o->path = xasprintf("%s/segment", dir && *dir ? dir : HEADGATE_RUNSTATEDIR "/headgate");
	while ((option = getopt_long(argc, argv, "r:f:ajwhV", known, NULL)) != -1) {
		switch (option) {
		case 'r':
			set_path(o, xasprintf("%s/segment", optarg));
			break;
		case 'f':
			set_path(o, xstrdup(optarg));
			break;
		case 'a':
			o->all = true;
			break;
		case 'j':
			o->mode = MODE_JSON;
			break;
		case 'w':
			o->mode = MODE_WATCH;
			break;
		case 'c':
			o->mode = MODE_CHECK;
			break;
		case 'd':
			stat_doc();
			exit(flush() ? 0 : 1);
		case 'h':
			print_usage(stdout);
			exit(0);
		case 'V':
			printf("headgatestat %s\n", HEADGATE_VERSION);
			exit(0);
		default:
			print_usage(stderr);
			exit(EXIT_CANNOT_ATTACH);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "headgatestat: unexpected argument: '%s'\n", argv[optind]);
		exit(EXIT_CANNOT_ATTACH);
	}
}

/* One look; the exit status. */
static int look(const struct options *o)
{
	bool good = true;
	struct shm *shm;
	char error[256];

	shm = shm_attach(o->path, error);
	if (!shm) {
		fprintf(stderr, "headgatestat: cannot read the segment: %s\n", error);
		return EXIT_CANNOT_ATTACH;
	}
	if (o->mode == MODE_CHECK) {
		good = stat_check(shm);
	} else if (o->mode == MODE_JSON) {
		stat_json(shm, o->path);
	} else {
		stat_table(shm, o->all);
	}
	shm_close(shm, false);
	return flush() && good ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct options options = { 0 };
	int status;

	parse(&options, argc, argv);
	status = options.mode == MODE_WATCH ? watch(options.path) : look(&options);
	free(options.path);
	return status;
}
