/* SPDX-License-Identifier: BSD-2-Clause */
/* main.c - the command line of headgate(8). */
#include "base/base.h"

#include "conf/conf.h"
#include "master/daemon.h"
#include "master/master.h"
#include "master/tell.h"

#include <getopt.h>

#define EXIT_CONF 2
#define DEFAULT_FILE HEADGATE_SYSCONFDIR "/headgate/headgate.yaml"

static const char usage_text[] =
	"usage: headgate [-c FILE] [-D | -s WORD | -t | --dump-config]\n"
	"       headgate [-c FILE] --print=pid-file\n"
	"       headgate --print=options-mdoc | -V | -h\n"
	"\n"
	"  -c, --config=FILE        configuration (" DEFAULT_FILE ")\n"
	"  -D, --daemon             serve in the background; returns when it does\n"
	"  -s, --signal=WORD        tell the running one: reload, reopen, drain, stop, upgrade\n"
	"  -t, --test               check the configuration and print its limits\n"
	"      --dump-config        print every option, its value and where it came from\n"
	"      --print=pid-file     print where the running one's pid is\n"
	"      --print=options-mdoc print all options as text for the manual\n"
	"  -V, --version            print the version\n"
	"  -h, --help               print this\n"
	"\n"
	"Without -D, -s, -t or --dump-config it serves, in the foreground.\n"
	"Signals: HUP reloads, USR1 reopens the log, USR2 upgrades the binary, QUIT drains,\n"
	"TERM and INT stop. See headgate(8), headgate.yaml(5).\n";

enum command { COMMAND_SERVE, COMMAND_DAEMON, COMMAND_TELL, COMMAND_TEST, COMMAND_DUMP, COMMAND_PID_FILE };

static const struct option options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "daemon", no_argument, NULL, 'D' },
	{ "signal", required_argument, NULL, 's' },
	{ "test", no_argument, NULL, 't' },
	{ "dump-config", no_argument, NULL, 'd' },
	{ "print", required_argument, NULL, 'p' },
	{ "version", no_argument, NULL, 'V' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int misuse(const char *what, const char *subject)
{
	fprintf(stderr, "headgate: %s '%s'\nTry 'headgate --help'.\n", what, subject);
	return EXIT_CONF;
}

/* Standard output to a full disk is a failure, too. */
static int finish_output(void)
{
	if (fflush(stdout) == 0)
		return EXIT_SUCCESS;
	perror("headgate: standard output");
	return EXIT_FAILURE;
}

static int print_texts(const char *what)
{
	if (strcmp(what, "options-mdoc") != 0)
		return misuse("--print knows 'pid-file' and 'options-mdoc', not", what);
	conf_print_mdoc(stdout);
	return finish_output();
}

/* Nobody reads standard error of a daemon: its lines must have another place. */
static int serve_in_background(struct conf *conf, char **argv)
{
	char error[256];
	int fd;

	if (!*conf->log_file && !*conf->log_syslog) {
		fputs("headgate: -D: log lines would be lost; set logging.file or logging.syslog\n", stderr);
		conf_free(conf);
		return EXIT_CONF;
	}
	fd = daemon_begin(error);
	if (fd >= 0)
		return master_run(conf, fd, argv);
	fprintf(stderr, "headgate: %s\n", error);
	conf_free(conf);
	return EXIT_FAILURE;
}

/* With a configuration: do it. All its errors go to stderr, one a line. */
static int with_config(const char *path, bool path_given, enum command command, const char *word,
	char **argv)
{
	struct conf_texts errors = { 0 };
	struct conf *conf;
	int status;

	if (!path_given && access(path, F_OK) < 0) {
		fprintf(stderr, "headgate: '%s': %s; name a configuration with -c FILE\n", path,
			strerror(errno));
		return EXIT_CONF;
	}
	conf = conf_load(path, &errors);
	if (!conf) {
		for (size_t i = 0; i < errors.count; i++)
			fprintf(stderr, "headgate: %s\n", errors.text[i]);
		conf_texts_release(&errors);
		return EXIT_CONF;
	}
	if (command == COMMAND_SERVE || (command == COMMAND_DAEMON && master_is_upgrade()))
		return master_run(conf, -1, argv);
	if (command == COMMAND_DAEMON)
		return serve_in_background(conf, argv);
	if (command == COMMAND_TELL) {
		status = tell(conf, word);
	} else if (command == COMMAND_PID_FILE) {
		puts(conf->pid_file);
		status = finish_output();
	} else if (command == COMMAND_DUMP) {
		conf_dump(conf, stdout);
		status = finish_output();
	} else {
		for (size_t i = 0; i < conf->warnings.count; i++)
			fprintf(stderr, "headgate: warning: %s\n", conf->warnings.text[i]);
		conf_print_limits(conf, stdout);
		conf_print_sizing(conf, stdout);
		conf_print_advice(conf, stdout);
		puts("configuration ok");
		status = finish_output();
	}
	conf_free(conf);
	return status;
}

int main(int argc, char **argv)
{
	const char *path = DEFAULT_FILE;
	const char *word = NULL;
	bool path_given = false;
	enum command command = COMMAND_SERVE;
	int option;

	while ((option = getopt_long(argc, argv, "c:Ds:tVh", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			path = optarg;
			path_given = true;
			break;
		case 'D':
			command = COMMAND_DAEMON;
			break;
		case 's':
			command = COMMAND_TELL;
			word = optarg;
			break;
		case 't':
			command = COMMAND_TEST;
			break;
		case 'd':
			command = COMMAND_DUMP;
			break;
		case 'p':
			if (strcmp(optarg, "pid-file") != 0)
				return print_texts(optarg);
			command = COMMAND_PID_FILE;
			break;
		case 'V':
			puts("headgate " HEADGATE_VERSION);
			return finish_output();
		case 'h':
			fputs(usage_text, stdout);
			return finish_output();
		default:
			fputs("Try 'headgate --help'.\n", stderr);
			return EXIT_CONF;
		}
	}
	if (optind < argc)
		return misuse("unexpected argument", argv[optind]);
	if (word && !tell_knows(word)) {
		fprintf(stderr, "headgate: -s knows %s, not '%s'\nTry 'headgate --help'.\n", tell_words(),
			word);
		return EXIT_CONF;
	}
	return with_config(path, path_given, command, word, argv);
}
