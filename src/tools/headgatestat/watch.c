/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch.c - see watch.h: once a second a look and a screen, at once when the terminal changes its
 * size. The segment is attached anew each time, so that a headgate that was restarted is found.
 */
#include "base/base.h"
#include "tools/headgatestat/watch.h"

#include "base/clock.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#define EXIT_CANNOT_ATTACH 2
#define PERIOD_MS 1000

static volatile sig_atomic_t leaving;

struct terminal {
	bool is_one;	/* standard output */
	bool has_keys;	/* standard input, set to give them one by one */
	struct termios before;
};

static void on_signal(int signo)
{
	if (signo != SIGWINCH)
		leaving = 1;
}

static bool put(const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, bytes, len);

		if (n < 0 && errno != EINTR)
			return false;
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* Signals come in only while we wait. */
static void open_terminal(struct terminal *t, sigset_t *waiting)
{
	static const int signals[] = { SIGWINCH, SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal };
	struct termios keys;
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		sigaction(signals[i], &action, NULL);
		sigaddset(&blocked, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, waiting);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigdelset(waiting, signals[i]);
	t->is_one = isatty(STDOUT_FILENO);
	t->has_keys = t->is_one && tcgetattr(STDIN_FILENO, &t->before) == 0;
	if (t->has_keys) {
		keys = t->before;
		keys.c_lflag &= (tcflag_t)~(ICANON | ECHO);
		tcsetattr(STDIN_FILENO, TCSANOW, &keys);
	}
	if (t->is_one)
		put("\033[?1049h\033[?25l", 14); /* the other screen, no cursor */
}

static void close_terminal(const struct terminal *t)
{
	if (t->is_one)
		put("\033[?25h\033[?1049l", 14);
	if (t->has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

/* Until the time, a key, or a signal. False: it is over. */
static bool wait_until(const struct terminal *t, uint64_t due_ms, const sigset_t *waiting)
{
	uint64_t now_ms = clock_ms(), left = due_ms > now_ms ? due_ms - now_ms : 0;
	struct timespec timeout = { (time_t)(left / 1000), (long)(left % 1000) * 1000000 };
	struct pollfd keys = { .fd = STDIN_FILENO, .events = POLLIN };
	char key = 0;

	if (ppoll(&keys, t->has_keys ? 1 : 0, &timeout, waiting) > 0 && read(STDIN_FILENO, &key, 1) <= 0)
		return false; /* the terminal is gone */
	return !leaving && key != 'q' && key != 'Q';
}

static void begin(struct screen *s, const struct terminal *t)
{
	struct winsize size = { 0 };

	*s = (struct screen){ .rows = 24, .columns = 80, .ansi = t->is_one };
	if (t->is_one && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col) {
		s->rows = size.ws_row;
		s->columns = size.ws_col;
	}
	if (s->ansi)
		buf_adds(&s->out, "\033[H");
}

static bool finish(struct screen *s)
{
	bool good;

	buf_adds(&s->out, s->ansi ? "\033[J" : "\n");
	good = put(s->out.data, s->out.len);
	buf_release(&s->out);
	return good;
}

/* look: this is a new look, not only a new screen. False: nobody reads us. */
static bool draw(const char *path, struct lately *l, const struct terminal *t, bool look)
{
	uint64_t now_ms = clock_ms();
	struct screen screen;
	char error[256];
	struct shm *shm = shm_attach(path, error);

	begin(&screen, t);
	if (shm) {
		if (look || !lately_is_of(l, shm))
			lately_look(l, shm, now_ms);
		screen_show(&screen, shm, l, now_ms);
		shm_close(shm, false);
	} else {
		screen_line(&screen, SCREEN_TITLE, "headgate   not running, waiting for it");
		screen_line(&screen, SCREEN_PLAIN, "%s", error);
	}
	return finish(&screen);
}

int watch(const char *path)
{
	struct terminal terminal = { 0 };
	struct lately *l;
	struct shm *shm;
	char error[256];
	sigset_t waiting;
	uint64_t due_ms;
	bool look = true;

	shm = shm_attach(path, error);
	if (!shm) {
		fprintf(stderr, "headgatestat: cannot read the segment: %s\n", error);
		return EXIT_CANNOT_ATTACH;
	}
	shm_close(shm, false);
	l = lately_open();
	open_terminal(&terminal, &waiting);
	due_ms = clock_ms() + PERIOD_MS;
	while (draw(path, l, &terminal, look) && wait_until(&terminal, due_ms, &waiting)) {
		look = clock_ms() >= due_ms;
		if (look)
			due_ms += PERIOD_MS;
	}
	close_terminal(&terminal);
	lately_close(l);
	return 0;
}
