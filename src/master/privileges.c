/* SPDX-License-Identifier: BSD-2-Clause */
/* privileges.c - see privileges.h. */
#include "base/base.h"
#include "master/privileges.h"

#include "base/log.h"
#include "conf/conf.h"

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define ERROR_BYTES 256

bool privileges_find(const struct conf *conf, struct privileges *p, char *error_r)
{
	const struct passwd *user;
	const struct group *group;

	*p = (struct privileges){ .user = conf->user };
	if (!*conf->user)
		return true;
	user = getpwnam(conf->user);
	if (!user) {
		snprintf(error_r, ERROR_BYTES,
			"there is no user '%.100s'; make one (useradd --system --no-create-home %.60s), or set user "
			"to another one",
			conf->user, conf->user);
		return false;
	}
	group = *conf->group ? getgrnam(conf->group) : NULL;
	if (*conf->group && !group) {
		snprintf(error_r, ERROR_BYTES,
			"there is no group '%.100s'; make one (groupadd --system %.60s), or leave group out",
			conf->group, conf->group);
		return false;
	}
	p->uid = user->pw_uid;
	p->gid = group ? group->gr_gid : user->pw_gid;
	p->drop = geteuid() == 0;
	return true;
}

void privileges_share(const struct privileges *p, const char *path)
{
	if (p->drop && chown(path, (uid_t)-1, p->gid) < 0)
		log_warning("master", "'%s': cannot give it to the group of workers: %s", path, strerror(errno));
}

void privileges_limit_core(bool core_dumps)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) < 0)
		return;
	limit.rlim_cur = core_dumps ? limit.rlim_max : 0;
	if (setrlimit(RLIMIT_CORE, &limit) < 0)
		log_warning("master", "cannot set the limit of core files: %s", strerror(errno));
	else if (core_dumps && !limit.rlim_max)
		log_warning("master", "core_dumps: the hard limit allows none; raise it (ulimit -Hc, LimitCORE=)");
}

bool privileges_drop(const struct privileges *p, bool core_dumps)
{
	if (p->drop && (initgroups(p->user, p->gid) < 0 || setgid(p->gid) < 0 || setuid(p->uid) < 0 ||
			       setuid(0) == 0)) {
		log_error("master", "cannot become user '%s': %s", p->user, strerror(errno));
		return false;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		log_warning("master", "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
	/* who has changed his user leaves no core unless he says so */
	if (core_dumps && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		log_warning("master", "PR_SET_DUMPABLE: %s", strerror(errno));
	return true;
}
