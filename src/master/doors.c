/* SPDX-License-Identifier: BSD-2-Clause */
/* doors.c - see doors.h. */
#include "base/base.h"
#include "master/doors.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/listening.h"
#include "base/log.h"
#include "conf/conf.h"
#include "master/master.h"
#include "master/notify.h"

#include <fcntl.h>

#define ERROR_BYTES 256
#define LISTEN_FDS_START 3 /* sd_listen_fds(3) */
#define ADMIN_BACKLOG 64
#define LEFT_MS 2000 /* the workers that empty a socket have closed it by then */

/* Where the configuration wants sockets, and how many. */
struct wish {
	const char *key; /* that names the address */
	const char *host;
	uint64_t port;
	unsigned n;
	uint64_t backlog;
};

static struct wish main_wish(const struct conf *conf)
{
	return (struct wish){ "chat.websocket.port", conf->host, conf->port, (unsigned)conf->workers, conf->backlog };
}

static struct wish admin_wish(const struct conf *conf)
{
	return (struct wish){ "admin.listen", conf->admin_host, conf->admin_port, *conf->admin_host ? 1 : 0,
		ADMIN_BACKLOG };
}

/* ---- lists ---- */

static void add(struct listener *l, int fd)
{
	l->fds = xrealloc(l->fds, (l->n + 1) * sizeof(*l->fds));
	l->fds[l->n++] = fd;
}

static bool has(const struct listener *l, int fd)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->fds[i] == fd)
			return true;
	return false;
}

static void forget(struct listener *l)
{
	free(l->fds);
	*l = (struct listener){ 0 };
}

static void close_and_forget(struct listener *l)
{
	listen_close(l->fds, l->n);
	forget(l);
}

/* Those of `from` that `to` does not have. */
static void close_others(struct listener *from, const struct listener *to)
{
	for (unsigned i = 0; i < from->n; i++)
		if (!has(to, from->fds[i]))
			fd_close(&from->fds[i]);
}

static bool is_wanted(int fd, const struct wish *w)
{
	return fd >= 0 && listen_is_at(fd, w->host, w->port);
}

static bool any_wanted(const struct listener *l, const struct wish *w)
{
	for (unsigned i = 0; i < l->n; i++)
		if (is_wanted(l->fds[i], w))
			return true;
	return false;
}

/* ---- making the sockets of a generation ---- */

/* Let l have what is wanted of `from`; taken: then `from` has it no longer. */
static void keep(struct listener *l, struct listener *from, const struct wish *w, bool taken)
{
	unsigned left = 0;

	for (unsigned i = 0; i < from->n; i++) {
		int fd = from->fds[i];
		bool yes = l->n < w->n && is_wanted(fd, w) && (!l->n || listen_port(fd) == listen_port(l->fds[0]));

		if (yes)
			add(l, fd);
		if (yes && taken)
			listening_open(fd);
		else
			from->fds[left++] = fd;
	}
	from->n = left;
}

/* Those of the service manager, all of them, and as many descriptors more as it takes. */
static void keep_given(struct listener *l, const struct listener *from, unsigned n)
{
	l->ngiven = from->ngiven;
	n = n < from->ngiven ? from->ngiven : n;
	for (unsigned i = 0; i < n; i++)
		add(l, i < from->n ? from->fds[i] : fcntl(from->fds[i % from->ngiven], F_DUPFD_CLOEXEC, 0));
	listen_url(l->fds[0], NULL, l->url);
}

static bool open_more(struct listener *l, const struct wish *w, bool shared, char *error_r)
{
	int fd;

	while (l->n < w->n) {
		if (!l->n) {
			fd = listen_bind(w->key, w->host, w->port, shared, error_r);
			if (fd < 0)
				return false;
		} else if ((fd = listen_bind_beside(l->fds[0])) < 0) {
			snprintf(error_r, ERROR_BYTES, "%s: cannot open %u sockets: %s", w->key, w->n, strerror(-fd));
			return false;
		}
		add(l, fd);
	}
	return true;
}

static bool start_all(const struct listener *l, const struct wish *w, char *error_r)
{
	for (unsigned i = 0; i < l->n; i++) {
		int error = listen_start(l->fds[i], w->backlog);

		if (error) {
			snprintf(error_r, ERROR_BYTES, "%s: cannot listen: %s", w->key, strerror(-error));
			return false;
		}
	}
	return true;
}

static bool was_left(const struct doors_all *d, uint64_t port)
{
	for (size_t i = 0; i < ARRAY_SIZE(d->left); i++)
		if (port && d->left[i] == port)
			return clock_ms() < d->left_ms;
	return false;
}

/* Is a socket of ours at this port? */
static bool have_port(const struct doors_all *d, uint64_t port)
{
	const struct listener *all[] = { &d->serving.main, &d->serving.admin, &d->coming.main, &d->coming.admin,
		&d->reserved_main, &d->reserved_admin, &d->leaving };

	for (size_t k = 0; k < ARRAY_SIZE(all); k++)
		for (unsigned i = 0; i < all[k]->n; i++)
			if (all[k]->fds[i] >= 0 && listen_port(all[k]->fds[i]) == port)
				return true;
	return was_left(d, port);
}

/* What a generation needs at one address. False: some are missing, the log says why. */
static bool fill(struct doors_all *d, struct listener *l, struct listener *before, struct listener *reserved,
	struct wish w)
{
	char error[ERROR_BYTES] = "";
	unsigned served;
	bool good;

	if (before->ngiven) {
		keep_given(l, before, w.n);
		return true;
	}
	keep(l, before, &w, false);
	served = l->n;
	keep(l, &d->leaving, &w, true);
	if (!served)
		served = l->n;
	keep(l, reserved, &w, true);
	if (served && served < w.n)
		listening_share(l->fds[0], served); /* the others get theirs when their workers are ready */
	good = open_more(l, &w, have_port(d, w.port), error) && start_all(l, &w, error);
	if (!good)
		log_error("master", "%s", error);
	if (l->n)
		listen_url(l->fds[0], w.host, l->url);
	while (l->n < w.n)
		add(l, -1);
	return good;
}

/* ---- leaving an address ---- */

/* Those of `old` that `now` has not are shut; the workers that have them empty them. */
static void leave(struct doors_all *d, struct listener *old, const struct listener *now)
{
	for (unsigned i = 0; i < old->n; i++) {
		int fd = old->fds[i];
		int error = 0;

		if (fd < 0 || has(now, fd))
			continue;
		if (old->ngiven) { /* one descriptor more of a socket that stays */
			close(fd);
			continue;
		}
		error = listening_shut(fd);
		if (error)
			log_debug("master", "an address that goes: SO_ATTACH_FILTER: %s", strerror(-error));
		add(&d->leaving, fd);
		d->leaving_ms = clock_ms() + LISTENING_LINGER_MS / 2; /* who accepts closes it last */
	}
	forget(old);
}

/* Who shares the main address from now on? */
static void share(const struct doors_all *d)
{
	const struct listener *l = &d->serving.main;

	if (l->n && l->fds[0] >= 0 && !l->ngiven)
		(void)!listening_share(l->fds[0], d->leaving.n ? l->n : 0);
}

static void change(struct doors_all *d, struct doors *old, const struct doors *now)
{
	leave(d, &old->main, &now->main);
	leave(d, &old->admin, &now->admin);
	share(d);
	*old = (struct doors){ 0 };
}

static void remember_left(struct doors_all *d, uint64_t now_ms)
{
	unsigned n = 0;

	memset(d->left, 0, sizeof(d->left));
	for (unsigned i = 0; i < d->leaving.n && n < ARRAY_SIZE(d->left); i++)
		if (!n || d->left[n - 1] != listen_port(d->leaving.fds[i]))
			d->left[n++] = listen_port(d->leaving.fds[i]);
	d->left_ms = now_ms + LEFT_MS;
}

uint64_t doors_watch(struct master *m, uint64_t now_ms)
{
	struct doors_all *d = &m->doors;

	if (!d->leaving.n)
		return UINT64_MAX;
	if (now_ms < d->leaving_ms)
		return d->leaving_ms;
	remember_left(d, now_ms);
	close_and_forget(&d->leaving);
	if (!d->coming.n)
		share(d);
	return UINT64_MAX;
}

/* ---- boot ---- */

/* Sockets that the service manager hands over. */
static bool take_given(struct listener *l, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int fd = LISTEN_FDS_START + (int)i;

		if (!listen_take(fd)) {
			log_error("master", "descriptor %d, which was given to us, is no listening socket", fd);
			return false;
		}
		add(l, fd);
	}
	l->ngiven = n;
	log_info("master", "%u listening socket%s given to us (LISTEN_FDS); chat.websocket.host and port are not "
		"looked at", n, n == 1 ? " was" : "s were");
	return true;
}

bool doors_open(struct master *m)
{
	struct doors_all *d = &m->doors;
	struct doors *elder = &m->upgrade.doors;
	unsigned ngiven = m->upgrade.elder ? 0 : notify_listen_fds();

	if (ngiven && !take_given(&elder->main, ngiven))
		return false;
	d->serving.n = (unsigned)m->conf->workers;
	return fill(d, &d->serving.main, &elder->main, &d->reserved_main, main_wish(m->conf)) &&
	       fill(d, &d->serving.admin, &elder->admin, &d->reserved_admin, admin_wish(m->conf));
}

void doors_leave_elder(struct master *m)
{
	change(&m->doors, &m->upgrade.doors, &m->doors.serving);
}

/* ---- reload ---- */

/* One socket, if the address is new to us. */
static bool reserve(const struct doors_all *d, const struct listener *serving, const struct listener *coming,
	const struct listener *before, struct listener *l, const struct wish *w, char *error_r)
{
	int fd;

	if (!w->n || serving->ngiven || any_wanted(serving, w) || any_wanted(coming, w) ||
		any_wanted(&d->leaving, w))
		return true;
	if (any_wanted(before, w)) {
		add(l, before->fds[0]);
		return true;
	}
	fd = listen_bind(w->key, w->host, w->port, have_port(d, w->port), error_r);
	if (fd >= 0)
		add(l, fd);
	return fd >= 0;
}

static void replace(struct listener *before, struct listener *l)
{
	close_others(before, l);
	forget(before);
	*before = *l;
}

bool doors_reserve(struct master *m, const struct conf *next, char *error_r)
{
	struct doors_all *d = &m->doors;
	struct listener main = { 0 }, admin = { 0 };
	struct wish w = main_wish(next), wa = admin_wish(next);

	if (reserve(d, &d->serving.main, &d->coming.main, &d->reserved_main, &main, &w, error_r) &&
		reserve(d, &d->serving.admin, &d->coming.admin, &d->reserved_admin, &admin, &wa, error_r)) {
		replace(&d->reserved_main, &main);
		replace(&d->reserved_admin, &admin);
		return true;
	}
	close_others(&main, &d->reserved_main);
	forget(&main);
	forget(&admin); /* the last that is tried: it has none that is new */
	return false;
}

void doors_begin(struct master *m, const struct conf *conf)
{
	struct doors_all *d = &m->doors;

	d->coming.n = (unsigned)conf->workers;
	/* what is missing, its worker will miss: this generation is given up then */
	(void)!fill(d, &d->coming.main, &d->serving.main, &d->reserved_main, main_wish(conf));
	(void)!fill(d, &d->coming.admin, &d->serving.admin, &d->reserved_admin, admin_wish(conf));
}

bool doors_settle(struct master *m)
{
	struct doors_all *d = &m->doors;
	struct doors old = d->serving;
	bool main_moved, admin_moved, fewer_or_more;

	d->serving = d->coming;
	d->coming = (struct doors){ 0 };
	main_moved = strcmp(old.main.url, d->serving.main.url) != 0;
	admin_moved = strcmp(old.admin.url, d->serving.admin.url) != 0;
	fewer_or_more = old.n != d->serving.n;
	if (main_moved)
		log_info("master", "no longer listening on %s", old.main.url);
	if (old.admin.n && admin_moved)
		log_info("master", "no live statistics at %s any more", old.admin.url);
	change(d, &old, &d->serving);
	return main_moved || admin_moved || fewer_or_more;
}

void doors_undo(struct master *m)
{
	change(&m->doors, &m->doors.coming, &m->doors.serving);
}

/* ---- the end ---- */

void doors_keep_only(struct master *m, const struct doors *own)
{
	struct doors_all *d = &m->doors;
	struct doors *of[] = { &d->serving, &d->coming, &m->upgrade.doors };
	struct listener *all[] = { &d->reserved_main, &d->reserved_admin, &d->leaving };

	for (size_t i = 0; i < ARRAY_SIZE(of); i++) {
		if (of[i] == own)
			continue;
		close_others(&of[i]->main, &own->main);
		close_others(&of[i]->admin, &own->admin);
	}
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		listen_close(all[i]->fds, all[i]->n);
}

static void shut_all(const struct listener *l)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->fds[i] >= 0)
			(void)!listening_shut(l->fds[i]);
}

void doors_shut(struct master *m)
{
	/* what the service manager has opened is its own: who comes waits there for whoever it starts next */
	if (!m->doors.serving.main.ngiven)
		shut_all(&m->doors.serving.main);
	shut_all(&m->doors.serving.admin);
}

void doors_close(struct master *m)
{
	struct doors_all *d = &m->doors;

	close_others(&d->coming.main, &d->serving.main);
	close_others(&d->coming.admin, &d->serving.admin);
	listen_close(d->serving.main.fds, d->serving.main.n);
	listen_close(d->serving.admin.fds, d->serving.admin.n);
}

void doors_release(struct master *m)
{
	struct doors_all *d = &m->doors;

	doors_close(m);
	forget(&d->serving.main);
	forget(&d->serving.admin);
	forget(&d->coming.main);
	forget(&d->coming.admin);
	close_and_forget(&d->reserved_main);
	close_and_forget(&d->reserved_admin);
	close_and_forget(&d->leaving);
}
