#!/bin/sh
# trigger preflight: reads what decides whether this host would write a crash dump. It changes nothing here, but
# with probe_target=yes (--probe-target): then it writes one small file to the dump target and removes it.
#
# Plain POSIX sh (dash, bash, ksh, busybox). Run as root, or by a user with `sudo -n`; whatever cannot be read is
# said and judged as unknown. Sites that allow only fixed commands install it as a forced command:
#   command="/usr/local/sbin/trigger-preflight",restrict ssh-ed25519 ...
#
# Output: frames of "@NONCE name", the text, "@NONCE = status". The nonce is new in every run, so that no file and
# no file name on this host can pretend to be a frame. Passwords in kdump's configuration never leave the host.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
set -f
nonce=$(cat /proc/sys/kernel/random/uuid 2>/dev/null) || nonce=$$-$(date +%s)
printf '\ntrigger-preflight 1 %s\n' "$nonce"

begin() { printf '\n@%s %s\n' "$nonce" "$1"; }
end() { printf '\n@%s = %s\n' "$nonce" "$1"; }

# limit SECONDS COMMAND...: so that a hanging file system or service costs seconds, not the preflight
if timeout 1 true 2>/dev/null; then
    limit() { timeout "$@"; }
else
    limit() { shift && "$@"; }
fi

# run NAME COMMAND...
run() {
    begin "$1"
    shift
    "$@" </dev/null 2>&1
    end $?
}

# lines FILE...: small files of /proc and /sys, all by one process, as "path:text". Never by the shell's own `read`:
# it may read byte by byte, and of a number in /proc/sys only the first digit can be had that way.
lines() {
    begin lines
    limit 10 grep -s '' /dev/null "$@"
    end 0
    for file in "$@"; do
        if [ -e "$file" ] && [ ! -r "$file" ]; then
            begin "$file"
            end denied
        fi
    done
}

# text NAME FILE: a whole file, 64 KiB at most
text() {
    if [ ! -e "$2" ]; then
        return
    fi
    run "$1" head -c 65536 "$2"
}

# filtered NAME PATTERN FILE...: the matching lines; 0 when there are any, whatever grep says of missing files
filtered() {
    begin "$1"
    shift
    lines=$(grep -sE "$@")
    status=$?
    printf '%s' "$lines"
    if [ -n "$lines" ]; then end 0; else end $status; fi
}

machine() {
    run uid id -u
    # who logged in, when sudo made root of it: that user reads the dumps later
    run login echo "${SUDO_UID:-$(id -u)}"
    run uname uname -srmn
    run clock date '+%s %z %Z'
    run zone readlink /etc/localtime
    filtered btime '^btime ' /proc/stat
    filtered meminfo '^(MemTotal|MemFree|Buffers|Cached|SwapCached|AnonPages|Shmem):' /proc/meminfo
    if [ -e /etc/os-release ]; then text os-release /etc/os-release; else text os-release /usr/lib/os-release; fi
    lines /proc/sys/kernel/random/boot_id /proc/uptime /proc/cmdline \
        /sys/class/dmi/id/product_uuid /sys/class/dmi/id/product_serial /sys/class/dmi/id/product_name \
        /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/board_serial /sys/class/dmi/id/bios_version \
        /sys/class/ipmi/ipmi0/device/bmc/guid
    text model /proc/device-tree/model
    text system-id /proc/device-tree/system-id
    filtered sysinfo '^(Manufacturer|Type|Sequence Code|LPAR Name|VM00 Name):' /proc/sysinfo
    run page-size getconf PAGE_SIZE
    run notes od -An -v -tx1 -N 4096 /sys/kernel/notes
    run stext grep -m 1 ' _stext$' /proc/kallsyms
    filtered modules '^(hpwdt|ipmi_watchdog|iTCO_wdt|i6300esb|sp5100_tco|wdat_wdt|softdog|sbsa_gwdt|mlx5_core|ice|kgdboc) ' \
        /proc/modules
}

kernel_settings() {
    set +f
    lines /proc/sys/kernel/unknown_nmi_panic /proc/sys/kernel/panic_on_unrecovered_nmi \
        /proc/sys/kernel/panic_on_io_nmi /proc/sys/kernel/nmi_watchdog /proc/sys/kernel/hardlockup_panic \
        /proc/sys/kernel/panic /proc/sys/kernel/panic_on_oops /proc/sys/kernel/sysrq \
        /proc/sys/kernel/kexec_load_disabled /proc/sys/kernel/dmesg_restrict /proc/sys/kernel/kptr_restrict \
        /sys/module/kernel/parameters/crash_kexec_post_notifiers /sys/module/hpwdt/parameters/kdumptimeout \
        /sys/module/ipmi_watchdog/parameters/preaction /sys/module/ipmi_watchdog/parameters/preop \
        /sys/kernel/kexec_crash_loaded /sys/kernel/kexec_crash_size /sys/kernel/kexec/crash_loaded \
        /sys/kernel/kexec/crash_size /sys/kernel/fadump/enabled /sys/kernel/fadump/registered \
        /sys/kernel/fadump/mem_reserved /sys/kernel/fadump_enabled /sys/kernel/fadump_registered \
        /sys/kernel/security/lockdown /sys/devices/system/cpu/crash_hotplug \
        /sys/devices/system/memory/crash_hotplug /sys/class/tty/console/active \
        /sys/class/watchdog/watchdog*/identity /sys/class/watchdog/watchdog*/state \
        /sys/class/watchdog/watchdog*/timeout /sys/class/watchdog/watchdog*/nowayout
    set -f
    set +f
    set -- /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf \
        /lib/sysctl.d/*.conf /etc/sysctl.conf
    set -f
    filtered sysctl-files -H \
        '^[[:space:]]*-?[[:space:]]*kernel[./](unknown_nmi_panic|panic_on_unrecovered_nmi|panic_on_io_nmi|sysrq)[[:space:]]*=' "$@"
    release=$(uname -r)
    for file in "/boot/config-$release" "/lib/modules/$release/config" "/usr/lib/modules/$release/config"; do
        [ -r "$file" ] && break
    done
    pattern='^CONFIG_(KEXEC|KEXEC_FILE|CRASH_DUMP|MAGIC_SYSRQ|MAGIC_SYSRQ_SERIAL|MAGIC_SYSRQ_SERIAL_SEQUENCE|MAGIC_SYSRQ_DEFAULT_ENABLE|HPWDT_NMI_DECODING|ACPI_AGDI)='
    if [ -r "$file" ]; then
        filtered kernel-config "$pattern" "$file"
    elif [ -r /proc/config.gz ]; then
        begin kernel-config
        zcat /proc/config.gz 2>&1 | grep -E "$pattern"
        end $?
    fi
    begin dmesg
    dmesg 2>&1 | grep -iE 'crashkernel|crash kernel|Uhhuh|Dazed and confused|hpwdt|agdi|sdei:|Memory Encryption Features|not permitted' |
        tail -n 40
    end $?
    begin stray-nmis
    dmesg 2>/dev/null | grep -cE 'Uhhuh\. NMI received|Dazed and confused|NMI: IOCK error|NMI: PCI system error'
    end 0
    if [ -e /sys/firmware/acpi/tables/AGDI ]; then run agdi echo yes; fi
}

consoles() {
    text consoles /proc/consoles
    for driver in serial ttyAMA ttySAC; do
        text "uart.$driver" "/proc/tty/driver/$driver"
    done
    # which terminals have processes (their device numbers, proc(5)): is there a getty on the serial console?
    begin terminals
    limit 5 find /proc -maxdepth 2 -path '/proc/[0-9]*/stat' -exec cat {} + 2>/dev/null |
        awk '{ name = $0; sub(/^[0-9]+ \(/, "", name); sub(/\) .*/, "", name); sub(/^.*\) /, "")
               if ($5 > 0 && !seen[$5 " " name]++ && ++lines <= 50) print $5, name }'
    end $?
    if [ -w /proc/sysrq-trigger ]; then run sysrq-trigger echo yes; fi
}

services() {
    if ! command -v systemctl >/dev/null 2>&1; then
        return
    fi
    set -- kdump.service kdump-early.service kdump-save.service kdump-tools.service pacemaker.service \
        corosync.service sbd.service
    for console in $(cat /sys/class/tty/console/active 2>/dev/null); do
        case $console in tty[0-9]*) ;; *) set -- "$@" "serial-getty@$console.service" ;; esac
    done
    run services limit 5 systemctl --no-pager show \
        -p Id,LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainStatus,ActiveEnterTimestampMonotonic "$@"
    # why it is not loaded, in the service's own words
    if grep -qsx 0 /sys/kernel/kexec_crash_loaded /sys/kernel/kexec/crash_loaded &&
        command -v journalctl >/dev/null 2>&1; then
        run service-log limit 5 journalctl -b -q --no-pager -o cat -n 12 -u kdump -u kdump-early -u kdump-tools
    fi
    run runtime-watchdog limit 5 systemctl --no-pager show -p RuntimeWatchdogUSec
}

crash_kernel() {
    filtered iomem -i 'crash kernel' /proc/iomem
    for name in SecureBoot SetupMode; do
        file=/sys/firmware/efi/efivars/$name-8be4df61-93ca-11d2-aa0d-00e098032b8c
        if [ -e "$file" ]; then run "efi.$name" od -An -v -tu1 "$file"; fi
    done
    for tool in makedumpfile kexec kdumpctl kdumptool kdump-config; do
        if command -v "$tool" >/dev/null 2>&1; then run "tool.$tool" command -v "$tool"; fi
    done
}

# config NAME FILE: kdump's configuration, its passwords crossed out here on the host
config() {
    if [ ! -e "$2" ]; then
        return
    fi
    begin "$1"
    head -c 65536 "$2" 2>&1 | sed -e 's#://\([^:/@ ]*\):[^/ ]*@#://\1:***@#g' \
        -e 's/^\([[:space:]]*\(export \)*[A-Za-z_]*PASSW[A-Za-z_]*=\).*/\1***/'
    if [ -r "$2" ]; then end 0; else end denied; fi
}

kdump_configuration() {
    config kdump.conf /etc/kdump.conf
    config sysconfig-kdump /etc/sysconfig/kdump
    config kdump-tools /etc/default/kdump-tools
    release=$(uname -r)
    set +f
    set -- /etc/kdump.conf /etc/sysconfig/kdump /etc/default/kdump-tools /etc/fstab "/boot/vmlinuz-$release" \
        "/boot/initramfs-${release}kdump.img" "/boot/initrd-$release-kdump" /var/lib/kdump/* /root/.ssh/kdump_id_rsa
    set -f
    run files stat -L -c '%Y %s %a %u %n' "$@"
    if [ -L /var/lib/kdump/vmlinuz ]; then run link.vmlinuz readlink /var/lib/kdump/vmlinuz; fi
    text suse-kernel-version /var/lib/kdump/kernel-version
    text last-test /var/lib/kdump/vmcore-creation.status
    if [ -e /usr/lib/kdump/kdump-read-config.sh ]; then run suse-new echo yes; fi
    if [ "$(uname -m)" = s390x ] && command -v lszdev >/dev/null 2>&1; then run zdev limit 5 lszdev --columns ID,ON; fi
}

probe='file=$1/.trigger-preflight-$$; echo trigger preflight >"$file" && rm "$file"'

# folder DIRECTORY: room, write access, what lies below, and what it stands on
folder() {
    begin "folder $1"
    printf '%s' "$1"
    end 0
    room=$(limit 5 df -Pk "$1" 2>&1)
    status=$?
    begin df
    printf '%s\n' "$room"
    end $status
    if [ $status -ne 0 ]; then
        return
    fi
    device=$(printf '%s\n' "$room" | tail -n 1)
    device=${device%% *}
    if [ -w "$1" ]; then run writable echo yes; else run writable echo no; fi
    if [ "${probe_target:-}" = yes ]; then run probe limit 5 sh -c "$probe" sh "$1"; fi
    run filesystem limit 5 awk -v device="$device" '$1 == device { print $1, $2, $3, $4; exit }' /proc/self/mounts
    if command -v lsblk >/dev/null 2>&1; then
        case $device in /dev/*) run layers limit 5 lsblk -nrso TYPE "$device" ;; esac
    fi
    begin listing
    set +f
    limit 5 stat -c '%Y %s %a %u %f %n' "$1"/* "$1"/*/* 2>/dev/null | sort -rn | head -n 500
    set -f
    end 0
}

# remote USER@HOST PORT DIRECTORY KEY: may root log in there without a question, as the crash kernel will?
remote() {
    case $1$2$3$4 in
    *[!A-Za-z0-9@%_./:,+=-]* | -*)
        run "remote refused" echo "unusual characters in the target"
        return
        ;;
    esac
    begin "remote $1:$3"
    if [ "$(id -u)" != 0 ]; then
        end denied
        return
    fi
    set -- "$1" "$2" "$3" "$4" ssh -n -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=8 \
        -o ClearAllForwardings=yes -o ForwardAgent=no
    [ "$2" = 22 ] || set -- "$@" -p "$2" # else root's own ssh configuration says, which kdump's log-in follows as well
    [ -n "$4" ] && set -- "$@" -i "$4"
    target=$1
    directory=$3
    shift 4
    tried=true
    if [ "${probe_target:-}" = yes ]; then
        tried="echo trigger preflight >'$directory/.trigger-preflight' && rm '$directory/.trigger-preflight'"
    fi
    limit 12 "$@" -- "$target" "df -Pk '$directory' && test -w '$directory' && $tried && echo writable &&
        stat -c '%Y %s %a %u %f %n' '$directory'/*" 2>&1 |
        head -c 65536
    end 0
}

# server HOST PORT: does it answer at all?
server() {
    if command -v nc >/dev/null 2>&1; then
        run "server $1:$2" limit 6 nc -z -w 5 "$1" "$2"
    fi
}

# mounted SOURCE: prints where it is mounted
mounted() {
    if command -v findmnt >/dev/null 2>&1; then
        limit 5 findmnt -fnro TARGET --source "$1"
    else
        awk -v source="$1" '$1 == source { print $2; exit }' /proc/self/mounts
    fi
}

# value FILE NAME: the last assignment in a file of shell variables, without running it
value() {
    sed -n "s/^[[:space:]]*\(export \)*$2=//p" "$1" 2>/dev/null | tail -n 1 |
        sed -e 's/[[:space:]]*#.*$//' -e 's/[[:space:]]*$//' -e 's/^"\(.*\)"$/\1/' -e "s/^'\(.*\)'\$/\1/"
}

rhel_target() {
    path=/var/crash kind='' where='' key=/root/.ssh/kdump_id_rsa
    while read -r word rest; do
        rest=${rest%%#*}
        rest=${rest%"${rest##*[! 	]}"}
        rest=${rest#\"}
        rest=${rest%\"}
        case $word in
        path) path=$rest ;;
        sshkey) key=$rest ;;
        raw | ext2 | ext3 | ext4 | xfs | btrfs | minix | nfs | virtiofs | ssh) kind=$word where=$rest ;;
        esac
    done </etc/kdump.conf
    case $kind in
    '') folder "$path" ;;
    raw) ;;
    ssh) remote "$where" 22 "$path" "$key" ;;
    *)
        mount=$(mounted "$where")
        if [ -n "$mount" ]; then folder "${mount%/}/${path#/}"; fi
        if [ "$kind" = nfs ]; then server "${where%%:/*}" 2049; fi
        ;;
    esac
}

suse_target() {
    url=$(value /etc/sysconfig/kdump KDUMP_SAVEDIR)
    url=${url:-/var/crash}
    key=$(value /etc/sysconfig/kdump KDUMP_SSH_IDENTITY)
    rest=${url#*://}
    login=${rest%%/*}
    path=/${rest#*/}
    case $login in *@*) host=${login##*@} user=${login%@*} ;; *) host=$login user=root ;; esac
    port=22
    case $host in *:*) port=${host##*:} host=${host%:*} ;; esac
    case $url in
    /*) folder "$url" ;;
    file://*) folder "${url#file://}" ;;
    ssh://* | sftp://* | scp://*)
        case $key in '' | /*) ;; *) key=/root/.ssh/${key%% *} ;; esac
        remote "${user%%:*}@$host" "$port" "$path" "$key"
        ;;
    nfs://*)
        mount=$(mounted "$host:$path")
        if [ -n "$mount" ]; then folder "$mount"; fi
        server "$host" 2049
        ;;
    ftp://*) server "$host" 21 ;;
    cifs://* | smb://*) server "$host" 445 ;;
    esac
}

debian_target() {
    directory=$(value /etc/default/kdump-tools KDUMP_COREDIR)
    directory=${directory:-/var/crash}
    nfs=$(value /etc/default/kdump-tools NFS)
    ssh=$(value /etc/default/kdump-tools SSH)
    ftp=$(value /etc/default/kdump-tools FTP)
    if [ -n "$ssh" ]; then
        key=$(value /etc/default/kdump-tools SSH_KEY)
        remote "$ssh" 22 "$directory" "${key:-/root/.ssh/kdump_id_rsa}"
    fi
    if [ -n "$ftp" ]; then server "${ftp%%:*}" 21; fi
    if [ -n "$nfs" ]; then
        mount=$(mounted "$nfs")
        if [ -n "$mount" ]; then folder "$mount"; fi
        server "${nfs%%:/*}" 2049
    elif [ -z "$ssh$ftp" ]; then
        folder "$directory"
    fi
}

target() {
    if [ -r /etc/kdump.conf ]; then rhel_target; fi
    if grep -qs '^[[:space:]]*KDUMP_SAVEDIR=' /etc/sysconfig/kdump; then suse_target; fi
    if [ -r /etc/default/kdump-tools ]; then debian_target; fi
    if [ -n "${wanted_folder:-}" ]; then folder "$wanted_folder"; fi
}

# What the host's own BMC says of itself, where the host has the means: is it the one that we would press?
own_bmc() {
    if [ -e /dev/ipmi0 ] && command -v ipmitool >/dev/null 2>&1; then
        run bmc.guid limit 6 ipmitool mc guid
        run bmc.lan limit 6 ipmitool lan print
    elif [ -e /dev/ipmi0 ] && command -v bmc-info >/dev/null 2>&1; then
        run bmc.guid limit 6 bmc-info --get-system-guid
    fi
}

machine
kernel_settings
consoles
services
crash_kernel
kdump_configuration
target
own_bmc
begin last
end 0
exit 0
