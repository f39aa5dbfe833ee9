/* SPDX-License-Identifier: BSD-2-Clause */
/* reload.c - see reload.h. */
#include "base/base.h"
#include "master/reload.h"

#include "base/buf.h"
#include "base/log.h"
#include "conf/conf.h"
#include "master/boot.h"
#include "master/limits.h"
#include "master/master.h"
#include "master/notify.h"
#include "shm/segment.h"

#define ERROR_BYTES 256

/* The configuration that was accepted last. */
static struct conf **latest(struct master *m)
{
	return m->pending ? &m->pending : m->coming ? &m->coming : &m->conf;
}

static void failed(struct master *m, const char *why)
{
	log_error("master", "reload: nothing was changed: %s", why);
	shm_reload_note(m->shm, false, why);
}

/* Places in the segment that a process may still use. */
static uint32_t busy_places(const struct master *m)
{
	uint32_t mask = limits_places(m->conf);

	if (m->upgrade.elder)
		mask |= m->upgrade.places;
	if (m->coming)
		mask |= limits_places(m->coming);
	if (m->pending)
		mask |= limits_places(m->pending);
	for (unsigned i = 0; i < m->nslots; i++)
		if (m->procs[i].pid)
			mask |= m->places[i];
	return mask;
}

/* Slots were made at the start; those that serve and those that come need one each at the same time. */
static bool workers_fit(const struct master *m, const struct conf *next, char *error_r)
{
	const struct doors_all *d = &m->doors;
	unsigned now = d->coming.n > d->serving.n ? d->coming.n : d->serving.n;

	if (next->workers + now <= m->nslots)
		return true;
	snprintf(error_r, ERROR_BYTES,
		"workers: %" PRIu64 " do not fit beside the %u that serve; the running headgate has room for %u "
		"(workers * (1 + max_generations) at its start); restart it to go beyond",
		next->workers, now, m->nslots);
	return false;
}

static struct conf *load(struct master *m)
{
	struct conf_texts errors = { 0 };
	struct conf *next = conf_load(m->conf->path, &errors);

	for (size_t i = 1; i < errors.count; i++)
		log_error("master", "reload: %s", errors.text[i]);
	if (!next)
		failed(m, errors.count ? errors.text[0] : "the file could not be loaded");
	conf_texts_release(&errors);
	return next;
}

static void say(const struct conf_texts *changed, const struct conf_texts *kept)
{
	for (size_t i = 0; i < changed->count; i++)
		log_info("master", "reload: %s", changed->text[i]);
	for (size_t i = 0; i < kept->count; i++)
		log_warning("master", "reload: %s: stays as it is until a restart", kept->text[i]);
}

static bool accept_conf(struct master *m, struct conf *next, enum conf_change change, size_t kept)
{
	struct conf **place = latest(m);
	char text[120], more[48] = "";

	if (kept)
		snprintf(more, sizeof(more), "; %zu take a restart", kept);
	conf_apply_logging(next, m->log_fd < 0 ? STDERR_FILENO : m->log_fd);
	limits_apply(m->shm, next);
	if (change == CONF_LIVE) {
		snprintf(text, sizeof(text), "limits changed%s", more);
		conf_free(*place);
		*place = next;
	} else {
		snprintf(text, sizeof(text), "new workers were asked for%s", more);
		conf_free(m->pending);
		m->pending = next;
	}
	log_info("master", "reload: %s", text);
	shm_reload_note(m->shm, true, text);
	return change != CONF_LIVE;
}

bool reload(struct master *m)
{
	struct conf_texts changed = { 0 }, kept = { 0 };
	struct conf *next;
	enum conf_change change;
	char error[ERROR_BYTES];
	bool wanted = false;

	if (m->upgrade.child) {
		failed(m, "an upgrade is under way; try again when the new binary serves");
		return false;
	}
	next = load(m);
	if (!next)
		return false;
	notify_reloading();
	change = conf_diff(*latest(m), next, &changed, &kept);
	if (!workers_fit(m, next, error) || !limits_place(m->shm, next, busy_places(m), error) ||
		!doors_reserve(m, next, error)) {
		failed(m, error);
		conf_free(next);
	} else {
		for (size_t i = 0; i < next->warnings.count; i++)
			log_warning("conf", "%s", next->warnings.text[i]);
		say(&changed, &kept);
		wanted = accept_conf(m, next, change, kept.count);
	}
	conf_texts_release(&changed);
	conf_texts_release(&kept);
	if (!wanted)
		notify_ready();
	return wanted;
}

void reload_begin(struct master *m, unsigned generation)
{
	m->coming = m->pending;
	m->pending = NULL;
	log_info("master", "generation %u: starting %u workers", generation, (unsigned)m->coming->workers);
	doors_begin(m, m->coming);
}

void reload_done(struct master *m, unsigned generation)
{
	conf_free(m->conf);
	m->conf = m->coming;
	m->coming = NULL;
	shm_set_generation(m->shm, generation);
	log_info("master", "generation %u serves; the workers of before drain", generation);
	if (doors_settle(m)) {
		boot_say_who_reaches(m->conf);
		boot_announce_doors(m);
	}
}

void reload_undo(struct master *m, unsigned generation)
{
	conf_free(m->coming);
	m->coming = NULL;
	doors_undo(m);
	limits_apply(m->shm, *latest(m));
	conf_apply_logging(*latest(m), m->log_fd < 0 ? STDERR_FILENO : m->log_fd);
	log_error("master",
		"generation %u: its workers could not start, see above; the workers of before go on, with the "
		"limits of before",
		generation);
	shm_reload_note(m->shm, false, "the new workers could not start; the log says why");
}
