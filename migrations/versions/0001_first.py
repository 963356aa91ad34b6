"""first"""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('audit_events',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('action', sa.String(length=64), nullable=False),
    sa.Column('result', sa.String(length=16), nullable=False),
    sa.Column('actor_id', sa.String(length=24), nullable=False),
    sa.Column('actor_name', sa.String(length=255), nullable=False),
    sa.Column('target_kind', sa.String(length=32), nullable=False),
    sa.Column('target_name', sa.String(length=255), nullable=False),
    sa.Column('cluster', sa.String(length=63), nullable=False),
    sa.Column('address', sa.String(length=64), nullable=False),
    sa.Column('door', sa.String(length=16), nullable=False),
    sa.Column('request_id', sa.String(length=64), nullable=False),
    sa.Column('reason', sa.String(length=500), nullable=False),
    sa.Column('details', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_events'))
    )
    with op.batch_alter_table('audit_events', schema=None) as batch_op:
        batch_op.create_index('ix_audit_events_action', ['action', 'id'], unique=False)
        batch_op.create_index('ix_audit_events_actor', ['actor_name', 'id'], unique=False)
        batch_op.create_index('ix_audit_events_actor_id', ['actor_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_audit_events_at'), ['at'], unique=False)
        batch_op.create_index(batch_op.f('ix_audit_events_cluster'), ['cluster'], unique=False)
        batch_op.create_index(batch_op.f('ix_audit_events_request_id'), ['request_id'], unique=False)
        batch_op.create_index('ix_audit_events_target', ['target_kind', 'target_name', 'id'], unique=False)

    op.create_table('clusters',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('name', sa.String(length=63), nullable=False),
    sa.Column('title', sa.String(length=120), nullable=False),
    sa.Column('server', sa.String(length=512), nullable=False),
    sa.Column('ca_pem', sa.Text(), nullable=False),
    sa.Column('access', sa.String(length=16), nullable=False),
    sa.Column('credential', sa.LargeBinary(), nullable=True),
    sa.Column('signer', sa.String(length=16), nullable=False),
    sa.Column('signer_ca_pem', sa.Text(), nullable=False),
    sa.Column('signer_ca_key', sa.LargeBinary(), nullable=True),
    sa.Column('max_lifetime_seconds', sa.Integer(), nullable=False),
    sa.Column('default_lifetime_seconds', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('probe', sa.JSON(), nullable=True),
    sa.Column('probed_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_clusters')),
    sa.UniqueConstraint('name', name=op.f('uq_clusters_name'))
    )
    op.create_table('failed_logins',
    sa.Column('key', sa.String(length=64), nullable=False),
    sa.Column('count', sa.Integer(), nullable=False),
    sa.Column('window_ends_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_failed_logins'))
    )
    with op.batch_alter_table('failed_logins', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_failed_logins_window_ends_at'), ['window_ends_at'], unique=False)

    op.create_table('groups',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('directory', sa.String(length=32), nullable=False),
    sa.Column('name', sa.String(length=512), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_groups')),
    sa.UniqueConstraint('directory', 'name', name=op.f('uq_groups_directory_name'))
    )
    op.create_table('heartbeats',
    sa.Column('name', sa.String(length=32), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_heartbeats'))
    )
    op.create_table('local_accounts',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('directory', sa.String(length=32), nullable=False),
    sa.Column('username', sa.String(length=255), nullable=False),
    sa.Column('display_name', sa.String(length=255), nullable=False),
    sa.Column('email', sa.String(length=320), nullable=False),
    sa.Column('groups', sa.String(length=4096), nullable=False),
    sa.Column('password_hash', sa.String(length=255), nullable=False),
    sa.Column('disabled', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_local_accounts')),
    sa.UniqueConstraint('directory', 'username', name=op.f('uq_local_accounts_directory_username'))
    )
    op.create_table('people',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('directory', sa.String(length=32), nullable=False),
    sa.Column('subject', sa.String(length=255), nullable=False),
    sa.Column('username', sa.String(length=255), nullable=False),
    sa.Column('display_name', sa.String(length=255), nullable=False),
    sa.Column('email', sa.String(length=320), nullable=False),
    sa.Column('manager', sa.String(length=512), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_login_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('synced_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('disabled_reason', sa.String(length=32), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_people')),
    sa.UniqueConstraint('directory', 'subject', name=op.f('uq_people_directory_subject')),
    sa.UniqueConstraint('username', name=op.f('uq_people_username'))
    )
    with op.batch_alter_table('people', schema=None) as batch_op:
        batch_op.create_index('ix_people_display_name', ['display_name'], unique=False)

    op.create_table('sync_states',
    sa.Column('directory', sa.String(length=32), nullable=False),
    sa.Column('attempted_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('succeeded_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('people', sa.Integer(), nullable=False),
    sa.Column('alarm', sa.String(length=500), nullable=False),
    sa.PrimaryKeyConstraint('directory', name=op.f('pk_sync_states'))
    )
    op.create_table('api_tokens',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('key_hash', sa.String(length=64), nullable=False),
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('name', sa.String(length=80), nullable=False),
    sa.Column('scopes', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_api_tokens_person_id_people'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_tokens')),
    sa.UniqueConstraint('key_hash', name=op.f('uq_api_tokens_key_hash')),
    sa.UniqueConstraint('person_id', 'name', name=op.f('uq_api_tokens_person_id_name'))
    )
    with op.batch_alter_table('api_tokens', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_api_tokens_person_id'), ['person_id'], unique=False)

    op.create_table('credentials',
    sa.Column('fingerprint', sa.String(length=64), nullable=False),
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('cluster_id', sa.String(length=24), nullable=True),
    sa.Column('cluster_name', sa.String(length=63), nullable=False),
    sa.Column('key_fingerprint', sa.String(length=64), nullable=False),
    sa.Column('key_origin', sa.String(length=8), nullable=False),
    sa.Column('username', sa.String(length=255), nullable=False),
    sa.Column('certificate_pem', sa.Text(), nullable=False),
    sa.Column('request_name', sa.String(length=80), nullable=False),
    sa.Column('issued_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['cluster_id'], ['clusters.id'], name=op.f('fk_credentials_cluster_id_clusters'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_credentials_person_id_people'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('fingerprint', name=op.f('pk_credentials')),
    sa.UniqueConstraint('cluster_id', 'key_fingerprint', name=op.f('uq_credentials_cluster_id_key_fingerprint'))
    )
    with op.batch_alter_table('credentials', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_credentials_cluster_id'), ['cluster_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_credentials_expires_at'), ['expires_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_credentials_key_fingerprint'), ['key_fingerprint'], unique=False)
        batch_op.create_index(batch_op.f('ix_credentials_person_id'), ['person_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_credentials_username'), ['username'], unique=False)

    op.create_table('mappings',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('group_id', sa.String(length=24), nullable=False),
    sa.Column('cluster_id', sa.String(length=24), nullable=False),
    sa.Column('role_kind', sa.String(length=16), nullable=False),
    sa.Column('role_name', sa.String(length=253), nullable=False),
    sa.Column('namespaces', sa.JSON(), nullable=False),
    sa.Column('subject_kind', sa.String(length=8), nullable=False),
    sa.Column('note', sa.String(length=500), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('created_by', sa.String(length=255), nullable=False),
    sa.CheckConstraint("role_kind IN ('Role', 'ClusterRole')", name=op.f('ck_mappings_role_kind')),
    sa.CheckConstraint("subject_kind IN ('User', 'Group')", name=op.f('ck_mappings_subject_kind')),
    sa.ForeignKeyConstraint(['cluster_id'], ['clusters.id'], name=op.f('fk_mappings_cluster_id_clusters'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['group_id'], ['groups.id'], name=op.f('fk_mappings_group_id_groups')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_mappings'))
    )
    with op.batch_alter_table('mappings', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_mappings_cluster_id'), ['cluster_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_mappings_group_id'), ['group_id'], unique=False)

    op.create_table('memberships',
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('group_id', sa.String(length=24), nullable=False),
    sa.ForeignKeyConstraint(['group_id'], ['groups.id'], name=op.f('fk_memberships_group_id_groups'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_memberships_person_id_people'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('person_id', 'group_id', name=op.f('pk_memberships'))
    )
    with op.batch_alter_table('memberships', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_memberships_group_id'), ['group_id'], unique=False)

    op.create_table('reconcile_states',
    sa.Column('cluster_id', sa.String(length=24), nullable=False),
    sa.Column('wanted', sa.Integer(), nullable=False),
    sa.Column('done', sa.Integer(), nullable=False),
    sa.Column('wanted_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('attempted_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('succeeded_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failures', sa.Integer(), nullable=False),
    sa.Column('error', sa.String(length=500), nullable=False),
    sa.Column('bindings', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['cluster_id'], ['clusters.id'], name=op.f('fk_reconcile_states_cluster_id_clusters'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('cluster_id', name=op.f('pk_reconcile_states'))
    )
    with op.batch_alter_table('reconcile_states', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_reconcile_states_next_attempt_at'), ['next_attempt_at'], unique=False)

    op.create_table('sessions',
    sa.Column('id', sa.String(length=24), nullable=False),
    sa.Column('key_hash', sa.String(length=64), nullable=False),
    sa.Column('person_id', sa.String(length=24), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ends_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('address', sa.String(length=64), nullable=False),
    sa.Column('user_agent', sa.String(length=255), nullable=False),
    sa.Column('logout', sa.LargeBinary(), nullable=True),
    sa.ForeignKeyConstraint(['person_id'], ['people.id'], name=op.f('fk_sessions_person_id_people'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_sessions')),
    sa.UniqueConstraint('key_hash', name=op.f('uq_sessions_key_hash'))
    )
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_sessions_person_id'), ['person_id'], unique=False)



def downgrade() -> None:
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_sessions_person_id'))

    op.drop_table('sessions')
    with op.batch_alter_table('reconcile_states', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_reconcile_states_next_attempt_at'))

    op.drop_table('reconcile_states')
    with op.batch_alter_table('memberships', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_memberships_group_id'))

    op.drop_table('memberships')
    with op.batch_alter_table('mappings', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_mappings_group_id'))
        batch_op.drop_index(batch_op.f('ix_mappings_cluster_id'))

    op.drop_table('mappings')
    with op.batch_alter_table('credentials', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_credentials_username'))
        batch_op.drop_index(batch_op.f('ix_credentials_person_id'))
        batch_op.drop_index(batch_op.f('ix_credentials_key_fingerprint'))
        batch_op.drop_index(batch_op.f('ix_credentials_expires_at'))
        batch_op.drop_index(batch_op.f('ix_credentials_cluster_id'))

    op.drop_table('credentials')
    with op.batch_alter_table('api_tokens', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_api_tokens_person_id'))

    op.drop_table('api_tokens')
    op.drop_table('sync_states')
    with op.batch_alter_table('people', schema=None) as batch_op:
        batch_op.drop_index('ix_people_display_name')

    op.drop_table('people')
    op.drop_table('local_accounts')
    op.drop_table('heartbeats')
    op.drop_table('groups')
    with op.batch_alter_table('failed_logins', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_failed_logins_window_ends_at'))

    op.drop_table('failed_logins')
    op.drop_table('clusters')
    with op.batch_alter_table('audit_events', schema=None) as batch_op:
        batch_op.drop_index('ix_audit_events_target')
        batch_op.drop_index(batch_op.f('ix_audit_events_request_id'))
        batch_op.drop_index(batch_op.f('ix_audit_events_cluster'))
        batch_op.drop_index(batch_op.f('ix_audit_events_at'))
        batch_op.drop_index('ix_audit_events_actor_id')
        batch_op.drop_index('ix_audit_events_actor')
        batch_op.drop_index('ix_audit_events_action')

    op.drop_table('audit_events')
