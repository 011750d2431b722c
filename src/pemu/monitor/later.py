"""QEMU's monitor commands that Pemu does not have yet, so that messages can say so."""

from __future__ import annotations

LATER = {
    "": frozenset(
        (
            "announce_self balloon block_job_cancel block_job_complete block_job_pause "
            "block_job_resume block_job_set_speed block_resize block_set_io_throttle block_stream "
            "calc_dirty_rate cancel_vcpu_dirty_limit chardev-change client_migrate_info "
            "closefd delvm device_add device_del drive_add drive_backup drive_del "
            "drive_mirror dump-guest-memory dumpdtb exit_preconfig expire_password getfd "
            "gpa2hpa gpa2hva hostfwd_add hostfwd_remove loadvm migrate migrate_cancel "
            "migrate_continue migrate_incoming migrate_pause migrate_recover "
            "migrate_set_capability migrate_set_parameter migrate_start_postcopy nbd_server_add "
            "nbd_server_remove nbd_server_start nbd_server_stop netdev_add netdev_del object_add "
            "object_del pcie_aer_inject_error qemu-io qom-get qom-list qom-set replay_break "
            "replay_delete_break replay_seek savevm screendump set_link set_password "
            "set_vcpu_dirty_limit snapshot_blkdev snapshot_blkdev_internal "
            "snapshot_delete_blkdev_internal stopcapture sync-profile watchdog_action wavcapture "
            "x_colo_lost_heartbeat "
        ).split()
    ),
    "info": frozenset(
        (
            "balloon block-jobs blockstats capture dirty_rate dump hotpluggable-cpus iothreads "
            "memdev memory-devices migrate migrate_capabilities migrate_parameters network numa "
            "opcount profile qdm qom-tree ramblock rdma replay rocker rocker-of-dpa-flows "
            "rocker-of-dpa-groups rocker-ports snapshots spice stats sync-profile tpm usbhost "
            "usernet vcpu_dirty_limit virtio virtio-queue-element virtio-queue-status "
            "virtio-status virtio-vhost-queue-status vm-generation-id vnc "
        ).split()
    ),
}
"""By what stands before them."""
