"""The Pod Security profile "restricted" as a table, for pod templates as plain dictionaries.

The rules are those of the Kubernetes documentation, "Pod Security Standards"; the last three are this project's own.
"""

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"}
SYSCTLS |= {"net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range"}
SECCOMP = ("RuntimeDefault", "Localhost")


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"], *pod.get("ephemeralContainers", [])]


def context(part):
    return part.get("securityContext") or {}


def everywhere(pod, test):
    """Whether a test holds for the security contexts of the pod and of every container."""
    return test(context(pod)) and all(test(context(each)) for each in containers(pod))


def each(pod, test):
    return all(test(container) for container in containers(pod))


def settled(pod, key, good):
    """Whether a setting is good in every container, set there or for the whole pod."""
    return each(pod, lambda c: good(context(c).get(key, context(pod).get(key))))


RULES = {
    "no host namespaces": lambda pod: not any(pod.get(k) for k in ("hostNetwork", "hostPID", "hostIPC")),
    "not privileged": lambda pod: each(pod, lambda c: not context(c).get("privileged")),
    "capabilities dropped": lambda pod: each(
        pod,
        lambda c: (
            "ALL" in context(c).get("capabilities", {}).get("drop", [])
            and set(context(c)["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}
        ),
    ),
    "only harmless volumes": lambda pod: all(set(v) - {"name"} <= VOLUMES for v in pod.get("volumes", [])),
    "no host ports": lambda pod: each(pod, lambda c: not any(p.get("hostPort") for p in c.get("ports", []))),
    "no SELinux user or role": lambda pod: everywhere(
        pod, lambda s: not {"user", "role"} & set(s.get("seLinuxOptions", {}))
    ),
    "default proc mount": lambda pod: each(pod, lambda c: context(c).get("procMount", "Default") == "Default"),
    "seccomp": lambda pod: settled(pod, "seccompProfile", lambda s: (s or {}).get("type") in SECCOMP),
    "safe sysctls": lambda pod: {s["name"] for s in context(pod).get("sysctls", [])} <= SYSCTLS,
    "no escalation": lambda pod: each(pod, lambda c: context(c).get("allowPrivilegeEscalation") is False),
    "not as root": lambda pod: settled(pod, "runAsNonRoot", lambda value: value is True),
    "user is not 0": lambda pod: everywhere(pod, lambda s: s.get("runAsUser", 1) != 0),
    "read-only root": lambda pod: each(pod, lambda c: context(c).get("readOnlyRootFilesystem") is True),
    "token mounted by decision only": lambda pod: pod.get("automountServiceAccountToken") is not None,
    "memory is limited": lambda pod: each(pod, lambda c: "memory" in c.get("resources", {}).get("limits", {})),
}


def violations(pod):
    """Names of the rules that a pod (its spec) breaks."""
    return [name for name, rule in RULES.items() if not rule(pod)]
