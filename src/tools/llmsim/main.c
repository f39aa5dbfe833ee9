/* SPDX-License-Identifier: BSD-2-Clause */
/* main.c - llmsim: a simulated OpenAI-compatible provider, one process and one loop. */
#include "base/base.h"
#include "base/defer.h"
#include "base/fd.h"
#include "tools/llmsim/events.h"
#include "tools/llmsim/listen.h"
#include "tools/llmsim/routes.h"
#include "tools/llmsim/sim.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>

struct sim sim;

static void stop(evutil_socket_t number, short what, void *arg)
{
	*(bool *)arg = true;
}

static void NORETURN complain(const char *what, const char *subject, const char *why)
{
	fprintf(stderr, "llmsim: %s '%s': %s\n", what, subject, why);
	exit(1);
}

/* Prints the ready line. */
static void start(struct event_base *base)
{
	char address[128];
	const char *why;
	int err, fd;

	if (sim.options.events && (err = events_open(sim.options.events)))
		complain("cannot write the events to", sim.options.events, strerror(-err));
	wheel_init(&sim.wheel, base);
	sim.random = (uint64_t)sim.options.seed;
	fd = listen_open(sim.options.host, sim.options.port, &why);
	if (fd < 0) {
		snprintf(address, sizeof(address), "%s:%s", sim.options.host, sim.options.port);
		complain("cannot listen on", address, why);
	}
	sim.server = http_server_new(base, &sim.wheel, fd, &routes);
	listen_address(fd, address, sizeof(address));
	printf("llmsim: ready on http://%s/v1\n", address);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const int signals[] = {SIGTERM, SIGINT};
	struct event on_signal[ARRAY_SIZE(signals)];
	struct event_base *base;
	bool stopped = false;

	options_parse(&sim.options, argc, argv);
	(void)fd_set_limit(0);
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	if (!base)
		complain("cannot start", "libevent", "out of descriptors or memory");
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		event_assign(&on_signal[i], base, signals[i], EV_SIGNAL | EV_PERSIST, stop,
		        &stopped);
		event_add(&on_signal[i], NULL);
	}
	start(base);
	while (!stopped) {
		event_base_loop(base, EVLOOP_ONCE);
		defer_run();
		events_flush();
	}
	http_server_free(sim.server);
	wheel_release(&sim.wheel);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		event_del(&on_signal[i]);
	event_base_free(base);
	events_close();
	options_release(&sim.options);
	return 0;
}
